//! Command lines and the names expected for them.

use std::path::Path;

use proptest::prelude::{any, prop_assert, proptest};

use super::{Command, names_parent, service_name};

/// `line` is split at blanks; a line in which a title was written over the arguments begins with `=`.
fn name(exe: &str, line: &str, cwd: &str) -> String {
    let args: Vec<String> = match line.strip_prefix('=') {
        Some(title) => vec![title.to_owned()],
        None => line.split(' ').map(str::to_owned).collect(),
    };
    service_name(&Command {
        args: &args,
        exe: Some(Path::new(exe)),
        cwd: Some(Path::new(cwd)),
        comm: "thread",
    })
}

#[track_caller]
fn check(exe: &str, line: &str, cwd: &str, expect: &str) {
    assert_eq!(name(exe, line, cwd), expect, "{line}");
}

#[test]
fn python_scripts_and_modules() {
    let py = "/usr/bin/python3.11";
    check(py, "python3 shop.py", "/srv", "shop");
    check(py, "python3 app.py", "/srv/shop", "shop");
    check(py, "python3 app.py", "/tmp", "app");
    check(py, "python3 app.py", "/root", "app");
    check(py, "python3 /srv/shop/src/main.py --port 1", "/", "shop");
    check(py, "python3 manage.py runserver", "/home/ada/shop", "shop");
    check(
        py,
        "python3 -u -X dev -W ignore worker.py",
        "/srv",
        "worker",
    );
    check(py, "python3 -m http.server 8000", "/srv", "http.server");
    check(py, "python3 -um shop.main", "/", "shop");
    check(py, "python3 -mshop", "/", "shop");
    check(py, "python3 -c import_os;secret", "/srv/shop", "python3");
    check(py, "python3 -Ic import_os", "/srv/shop", "python3");
    check(py, "python3 -", "/srv/shop", "python3");
    check(py, "python3", "/srv/shop", "python3");
}

#[test]
fn python_servers_are_named_by_their_application() {
    let py = "/usr/bin/python3.11";
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn -w 4 -b 127.0.0.1:8000 shop:app",
        "/",
        "shop",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn shop.wsgi:application --preload",
        "/",
        "shop",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn --preload -k sync -b unix:app.sock shop.api:create_app()",
        "/",
        "shop.api",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn --unknown-flag shop:app",
        "/",
        "shop",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn -w4 app:app",
        "/srv/shop",
        "shop",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn --chdir /srv/shop app:app",
        "/",
        "shop",
    );
    check(
        py,
        "/usr/bin/python3 /usr/bin/gunicorn -c gunicorn.conf.py",
        "/srv/shop",
        "shop",
    );
    check(py, "=gunicorn: master [shop:app]", "/", "shop");
    check(py, "=gunicorn: worker [shop.wsgi:app]", "/", "shop");
    check(py, "=gunicorn: worker [shop]", "/", "shop");
    check(py, "/usr/bin/python3 -m gunicorn shop:app", "/", "shop");
    check(
        py,
        "/usr/bin/python3 -m uvicorn --reload --port 1 src.shop.main:app",
        "/",
        "shop",
    );
    check(
        py,
        "/venv/bin/python /venv/bin/uvicorn main:app --host 0.0.0.0",
        "/srv/shop",
        "shop",
    );
    check(
        py,
        "python3 /usr/bin/celery -A shop worker -l info",
        "/",
        "shop",
    );
    check(
        py,
        "python3 -m celery --app=shop.tasks:celery worker",
        "/",
        "shop.tasks",
    );
    check(
        py,
        "=[celeryd: celery@vm:MainProcess] -active- (-A shop worker -l info)",
        "/",
        "shop",
    );
    check(py, "=[celeryd: celery@vm:ForkPoolWorker-1]", "/", "celery");
    check(py, "python3 /usr/bin/flask --app shop run", "/", "shop");
    check(py, "python3 -m flask run", "/srv/shop", "shop");
    check(
        "/usr/bin/uwsgi-core",
        "uwsgi --http :1 --module shop.wsgi:app",
        "/",
        "shop",
    );
    check(
        "/usr/bin/uwsgi-core",
        "uwsgi /etc/uwsgi/shop.ini",
        "/",
        "shop",
    );
}

#[test]
fn node_programs() {
    let node = "/usr/bin/node";
    check(node, "node shop.js", "/srv", "shop");
    check(node, "node server.js", "/srv/shop", "shop");
    check(node, "node server.js", "/tmp", "server");
    check(node, "node ./dist/index.js", "/srv/shop", "shop");
    check(
        node,
        "node --require ./tracing.js --max-old-space-size=64 api.mjs",
        "/srv",
        "api",
    );
    check(
        node,
        "node /srv/shop/node_modules/.bin/next start",
        "/",
        "shop",
    );
    check(node, "node /x/node_modules/.bin/next", "/", "x");
    check(
        node,
        "node /usr/lib/node_modules/npm/bin/npm-cli.js start",
        "/srv/shop",
        "shop",
    );
    check(
        node,
        "node node_modules/.bin/tsx src/orders.ts",
        "/srv/shop",
        "orders",
    );
    check(node, "=next-server (v14.2.0)", "/srv/shop", "shop");
    check(node, "=npm start", "/srv/shop", "shop");
    check(node, "node -e secret()", "/srv/shop", "node");
    check(node, "node", "/srv/shop", "node");
    check(
        "/usr/bin/deno",
        "deno run --allow-net orders.ts",
        "/",
        "orders",
    );
    check("/usr/bin/bun", "bun run orders.ts", "/", "orders");
}

#[test]
fn java_programs() {
    let java = "/usr/lib/jvm/java-17/bin/java";
    check(java, "java -jar shop-1.2.jar", "/", "shop");
    check(
        java,
        "java -Xmx1g -jar /srv/shop-service-1.2.3-SNAPSHOT.jar --port=1",
        "/",
        "shop-service",
    );
    check(java, "java -jar app.jar", "/srv/shop", "shop");
    check(java, "java -jar /srv/shop/quarkus-run.jar", "/", "shop");
    check(java, "java -jar order-all.jar", "/", "order");
    check(
        java,
        "java -cp /srv/lib/*:x -Dpassword=secret com.acme.Main",
        "/srv",
        "Main",
    );
    check(
        java,
        "java -cp lib/* kafka.Kafka server.properties",
        "/",
        "Kafka",
    );
    check(
        java,
        "java --add-opens java.base/java.lang=ALL-UNNAMED -m shop/com.acme.Orders",
        "/",
        "Orders",
    );
    check(
        java,
        "java org.springframework.boot.loader.launch.JarLauncher",
        "/srv/shop",
        "shop",
    );
    check(java, "java Orders.java", "/", "Orders");
    check(java, "java", "/", "java");
}

#[test]
fn other_interpreters() {
    check("/usr/bin/ruby3.1", "ruby orders.rb", "/", "orders");
    check("/usr/bin/ruby3.1", "ruby app.rb", "/srv/shop", "shop");
    check(
        "/usr/bin/ruby3.1",
        "ruby bin/rails server",
        "/srv/shop",
        "shop",
    );
    check(
        "/usr/bin/ruby3.1",
        "=puma 5.6.5 (tcp://0.0.0.0:3000) [shop]",
        "/",
        "shop",
    );
    check(
        "/usr/bin/ruby3.1",
        "=puma: cluster worker 0: 123 [shop]",
        "/",
        "shop",
    );
    check(
        "/usr/bin/ruby3.1",
        "=sidekiq 6.4.1 shop [0 of 5 busy]",
        "/",
        "shop",
    );
    check("/usr/bin/ruby3.1", "ruby -e secret", "/srv/shop", "ruby");
    check("/usr/sbin/php-fpm8.2", "=php-fpm: pool www", "/", "php-fpm");
    check("/usr/sbin/php-fpm8.2", "php-fpm8.2 -F", "/", "php-fpm");
    check(
        "/usr/bin/php8.2",
        "php -S 127.0.0.1:1 orders.php",
        "/",
        "orders",
    );
    check(
        "/usr/bin/php8.2",
        "php -S 127.0.0.1:1 -t /srv/shop/public",
        "/",
        "shop",
    );
    check("/usr/bin/php8.2", "php artisan serve", "/srv/shop", "shop");
    check("/usr/bin/dotnet", "dotnet Shop.Api.dll", "/", "Shop.Api");
    check("/usr/bin/bash", "bash /srv/backup.sh", "/", "backup");
    check("/usr/bin/bash", "bash -lc secret", "/", "bash");
    check("/usr/bin/dash", "sh -c secret", "/", "sh");
    check("/usr/bin/bash", "-bash", "/", "bash");
    check("/usr/bin/perl", "perl -w orders.pl", "/", "orders");
}

#[test]
fn binaries() {
    check("/usr/sbin/nginx", "=nginx: worker process", "/", "nginx");
    check(
        "/usr/sbin/nginx",
        "=nginx: master process /usr/sbin/nginx -g daemon off;",
        "/",
        "nginx",
    );
    check(
        "/usr/lib/postgresql/15/bin/postgres",
        "=postgres: ada shop 127.0.0.1(1) idle",
        "/",
        "postgres",
    );
    check(
        "/usr/bin/redis-server",
        "=redis-server *:6379",
        "/",
        "redis-server",
    );
    check("/usr/bin/curl", "curl -u me:secret http://x/", "/", "curl");
    check("/srv/shop/orders", "./orders", "/srv/shop", "orders");
    check("/srv/shop/target/release/server", "server", "/", "shop");
    check("/srv/shop/main", "./main", "/srv/shop", "shop");
    check(
        "/tmp/go-build12/b001/exe/main",
        "/tmp/go-build12/b001/exe/main",
        "/home/ada/shop",
        "shop",
    );
    check("/usr/bin/busybox", "wget http://x/", "/", "wget");
}

#[test]
fn programs_without_a_file_are_named_as_they_were_called() {
    check("/usr/bin/bash", "bash /dev/fd/3", "/srv/shop", "bash");
    check(
        "/usr/bin/bash",
        "/proc/self/fd/3 /proc/self/fd/4",
        "/srv/shop",
        "bash",
    );
    check("/memfd:sealed-1234", "orders --port 1", "/", "orders");
    check("/memfd:sealed-1234", "/proc/self/fd/3", "/", "thread");
}

#[test]
fn a_process_without_anything_is_named_by_its_thread_or_not_at_all() {
    let named = |comm| {
        service_name(&Command {
            args: &[],
            exe: None,
            cwd: None,
            comm,
        })
    };
    assert_eq!(named("curl"), "curl");
    assert_eq!(named(""), "unknown_service");
    assert_eq!(named("\u{1b}[31mred"), "[31mred");
}

#[test]
fn only_titles_of_celery_workers_point_to_the_parent() {
    let check = |title: &str, expect: bool| {
        assert_eq!(names_parent(&[title.to_owned()]), expect, "{title}")
    };
    check("[celeryd: celery@vm:ForkPoolWorker-1]", true);
    check(
        "[celeryd: celery@vm:MainProcess] -active- (-A shop worker)",
        false,
    );
    check("nginx: worker process", false);
}

proptest! {
    #[test]
    fn any_command_line_has_a_name(args in any::<Vec<String>>(), program in "(python3|node|java|ruby|php|bash|uwsgi|x)") {
        let exe = format!("/usr/bin/{program}");
        let command = Command { args: &args, exe: Some(Path::new(&exe)), cwd: None, comm: "" };
        prop_assert!(!service_name(&command).is_empty());
    }
}
