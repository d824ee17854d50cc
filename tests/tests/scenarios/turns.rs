//! Turns of Node.js' event loop in the versions that npm has.

use suture_tests::process::built;

use crate::scenarios::vm_turns::{Expected, SHAPES, check};

#[test]
fn each_version_of_node_that_is_known() {
    for version in ["18", "22", "24"] {
        let node = built(&format!("node-{version}/node_modules/node/bin/node")).unwrap();
        check(&node, SHAPES, Expected::Right);
    }
}
