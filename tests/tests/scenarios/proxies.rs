//! nginx in front: reverse proxy, kept-alive upstream, FastCGI to php-fpm.

use suture_tests::Scene;
use suture_tests::check::{Asked, Hop};
use suture_tests::victims::leaf;
use suture_tests::victims::nginx::{Behind, PhpFpm, nginx};
use suture_tests::victims::python::{Worker, gunicorn, http_server};

use crate::scenarios::chain::check_hops;

#[test]
fn nginx_before_http_server() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let behind = http_server(Some(&leaf)).unwrap();
    let front = nginx(1, &Behind::Proxy(&behind)).unwrap();
    let agent = scene.agent().start().unwrap();
    let hops = [
        Hop::of(&front, Asked::Work),
        Hop::of(&behind, Asked::Work),
        Hop::of(&leaf, Asked::Leaf),
    ];
    check_hops(&scene, agent, &front, &hops);
}

#[test]
fn nginx_before_gunicorn_with_kept_alive_connections() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let behind = gunicorn(Worker::Gthread, "requests", Some(&leaf)).unwrap();
    let front = nginx(2, &Behind::ProxyKeepAlive(&behind)).unwrap();
    let agent = scene.agent().start().unwrap();
    let hops = [
        Hop::of(&front, Asked::Work),
        Hop::of(&behind, Asked::Work),
        Hop::of(&leaf, Asked::Leaf),
    ];
    check_hops(&scene, agent, &front, &hops);
}

#[test]
fn php_fpm_behind_nginx() {
    let scene = Scene::open().unwrap();
    let leaf = leaf().unwrap();
    let fpm = PhpFpm::start(Some(&leaf)).unwrap();
    let front = nginx(1, &Behind::FastCgi(&fpm)).unwrap();
    let agent = scene.agent().start().unwrap();
    check_hops(
        &scene,
        agent,
        &front,
        &[
            Hop::of(&front, Asked::Work),
            fpm.hop(),
            Hop::of(&leaf, Asked::Leaf),
        ],
    );
}
