//! Names that Docker keeps of a container, which neither its processes nor its cgroup show.
//!
//! In: a container id, `/var/lib/docker/containers/ID/config.v2.json`. Out: [`Container`]. Always holds: of that file, which holds the
//! container's whole environment, only name, image and two labels are kept. Refuses: files beyond `FILE` bytes, and to ask
//! the daemon, which may be slow or down.

use std::path::Path;

use serde::Deserialize;

use super::proc_root::read_bounded;

/// Where Docker keeps its containers unless `data-root` says otherwise.
pub const CONTAINERS: &str = "/var/lib/docker/containers";
/// Bound of a container's file.
const FILE: usize = 512 << 10;

/// What Docker knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// `container.name`.
    pub name: Option<String>,
    /// `container.image.name`: without tag and digest.
    pub image: Option<String>,
    /// `container.image.tags`.
    pub tag: Option<String>,
    /// The service's name in a compose file.
    pub compose_service: Option<String>,
    /// The compose project.
    pub compose_project: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
}

#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "com.docker.compose.service")]
    service: Option<String>,
    #[serde(rename = "com.docker.compose.project")]
    project: Option<String>,
}

impl Container {
    /// Reads the container `id` from the folder of containers. None when Docker does not know it.
    pub fn read(containers: &Path, id: &str) -> Option<Self> {
        let raw = read_bounded(&containers.join(id).join("config.v2.json"), FILE).ok()?;
        let file: File = serde_json::from_slice(&raw).ok()?;
        let (image, labels) = file
            .config
            .map(|config| (config.image, config.labels))
            .unwrap_or_default();
        let labels = labels.unwrap_or_default();
        let (image, tag) = image.as_deref().map(split_image).unwrap_or_default();
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Some(Container {
            name: filled(
                file.name
                    .map(|name| name.trim_start_matches('/').to_owned()),
            ),
            image: filled(image),
            tag: filled(tag),
            compose_service: filled(labels.service),
            compose_project: filled(labels.project),
        })
    }

    /// The name an operator would use: the compose service, else the container's name if somebody gave it one.
    ///
    /// A container without `--name` is called `adjective_surname` (moby, `pkg/namesgenerator`); such a name changes with every start, and a
    /// program's own name says more.
    pub fn service(&self) -> Option<&str> {
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
        let drawn = |name: &str| {
            name.split_once('_').is_some_and(|(adjective, surname)| {
                is_word(adjective)
                    && is_word(surname.trim_end_matches(|c: char| c.is_ascii_digit()))
            })
        };
        self.compose_service
            .as_deref()
            .or_else(|| self.name.as_deref().filter(|name| !drawn(name)))
    }
}

/// `registry:5000/shop/web:1.2@sha256:…` is (`registry:5000/shop/web`, `1.2`). An image named by its hash alone has no name.
fn split_image(reference: &str) -> (Option<String>, Option<String>) {
    if reference.starts_with("sha256:") {
        return (None, None);
    }
    let plain = reference.split('@').next().unwrap_or(reference);
    match plain.rsplit_once(':') {
        // A colon before the last slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (Some(name.to_owned()), Some(tag.to_owned())),
        _ => (Some(plain.to_owned()), None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use super::{Container, split_image};

    fn read(json: &str) -> Option<Container> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("id")).unwrap();
        std::fs::write(folder.path().join("id/config.v2.json"), json).unwrap();
        Container::read(folder.path(), "id")
    }

    #[test]
    fn name_image_and_labels_are_taken_and_nothing_else() {
        let json = r#"{"State":{"Running":true,"Pid":7},"ID":"id","Args":["--password=hunter2"],"Config":{"Hostname":"3f4e",
            "Env":["TOKEN=hunter2"],"Image":"registry:5000/shop/web:1.2","Labels":{"com.docker.compose.project":"shop",
            "com.docker.compose.service":"web","secret":"hunter2"}},"Name":"/shop-web-1"}"#;
        let found = read(json).unwrap();
        assert_eq!(found.service(), Some("web"));
        assert_eq!(found.name.as_deref(), Some("shop-web-1"));
        assert_eq!(found.image.as_deref(), Some("registry:5000/shop/web"));
        assert_eq!(found.tag.as_deref(), Some("1.2"));
        assert_eq!(found.compose_project.as_deref(), Some("shop"));
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn only_given_names_name_a_service() {
        let check = |name: &str, expect: Option<&str>| {
            let found = read(&format!(
                r#"{{"Name":"/{name}","Config":{{"Labels":null}}}}"#
            ))
            .unwrap();
            assert_eq!(found.service(), expect, "{name}");
        };
        check("shop", Some("shop"));
        check("shop_web_1", Some("shop_web_1"));
        check("nostalgic_turing", None);
        check("nostalgic_turing3", None);
        check("", None);
    }

    #[test]
    fn images_are_split_at_the_tag() {
        let check = |reference: &str, name: Option<&str>, tag: Option<&str>| {
            let found = split_image(reference);
            assert_eq!(
                (found.0.as_deref(), found.1.as_deref()),
                (name, tag),
                "{reference}"
            );
        };
        check("nginx", Some("nginx"), None);
        check("nginx:1.25", Some("nginx"), Some("1.25"));
        check("host:5000/nginx", Some("host:5000/nginx"), None);
        check("nginx:1@sha256:abc", Some("nginx"), Some("1"));
        check("sha256:abc", None, None);
    }

    #[test]
    fn damaged_or_absent_files_are_no_containers() {
        assert_eq!(read("{"), None);
        assert_eq!(read("[]"), None);
        assert_eq!(
            Container::read(std::path::Path::new("/nonexistent"), "id"),
            None
        );
    }
}
