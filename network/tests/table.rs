//! Which environment leads where: the table that all drivers are tried with, too.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{channel, Sender};
use std::time::Duration;

use pet_core::request::CoordinatorUrl;
use pet_network::{Environment, Error};
use serde_json::Value;

struct Row {
    why: String,
    environment: Vec<(String, String)>,
    url: String,
    /// Whether the proxy is asked, or the coordinator itself.
    through_proxy: bool,
    /// Whether curl does the same; `None` if that depends on its version.
    curl: Option<bool>,
}

/// The table, for a proxy and a coordinator at these places.
fn table(proxy: &str, server: &str) -> Vec<Row> {
    let text = include_str!("proxies.json").replace("{proxy}", proxy).replace("{port}", server);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = |row: &Value| Row {
        why: row["why"].as_str().unwrap().into(),
        environment: row["env"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().into()))
            .collect(),
        url: row["url"].as_str().unwrap().into(),
        through_proxy: row["asks"] == "proxy",
        curl: row["curl"].as_bool(),
    };
    rows.iter().map(row).collect()
}

#[test]
fn every_row_leads_where_it_says() {
    for row in table("proxy.example:3128", "8081") {
        let url = CoordinatorUrl::parse(&row.url).unwrap();
        let proxy = Environment::of(row.environment.clone()).proxy_for(&url).unwrap();
        let expected = row.through_proxy.then_some("http://proxy.example:3128");
        let found = proxy.as_ref().map(pet_network::Proxy::url);
        assert_eq!(found, expected, "{}: {:?} {}", row.why, row.environment, row.url);
    }
}

/// Says who was connected to.
fn listen(name: &'static str, told: Sender<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            // Something comes, and the connection ends.
            let _ = stream.read(&mut [0; 4096]);
            if told.send(name).is_err() {
                return;
            }
        }
    });
    port
}

/// curl itself goes the same way, but where the table says that it does not.
#[test]
#[expect(clippy::print_stderr, reason = "says that it was left out")]
fn curl_goes_the_same_way() {
    let version = Command::new("curl").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let number = version.unwrap_or_default();
    let mut parts = number.split([' ', '.']).skip(1).map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    // Before, it knew no networks in NO_PROXY.
    if version < (7, 86) {
        eprintln!("curl 7.86 or later is not installed: left out");
        return;
    }
    let (sender, asked) = channel();
    let proxy = listen("proxy", sender.clone());
    let server = listen("server", sender);
    let mut compared = 0;
    for row in table(&format!("127.0.0.1:{proxy}"), &server.to_string()) {
        let mut curl = Command::new("curl");
        curl.env_clear().envs(row.environment.clone());
        // Whatever the host is, the coordinator is here.
        curl.arg("--connect-to").arg(format!("::127.0.0.1:{server}"));
        curl.args(["--silent", "--globoff", "--max-time", "20", &row.url]);
        let status = curl.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.is_ok(), "curl runs");
        let asked = asked.recv_timeout(Duration::from_secs(20)).unwrap_or("nobody");
        let expected = if row.through_proxy { "proxy" } else { "server" };
        let same = asked == expected;
        assert_eq!(
            same,
            row.curl.unwrap_or(same),
            "{}: {:?} {}: curl asks {asked}",
            row.why,
            row.environment,
            row.url
        );
        compared += usize::from(row.curl == Some(true));
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn what_cannot_be_used_is_refused_in_words() {
    let url = CoordinatorUrl::parse("http://a.example").unwrap();
    for (value, words) in [
        ("socks5h://proxy:1080", "SOCKS"),
        ("ftp://proxy", "http://"),
        ("http://", "host"),
        ("http://pro xy", "percent"),
        ("http://proxy:port", "port"),
        ("http://[::1", "bracket"),
        ("http://me:secret@proxy:99999", "port"),
    ] {
        let error = Environment::of([("http_proxy", value)]).proxy_for(&url).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("http_proxy"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        // An excepted host does not care.
        let environment = Environment::of([("http_proxy", value), ("no_proxy", "example")]);
        assert_eq!(environment.proxy_for(&url), Ok(None));
    }
}

#[test]
fn users_of_proxies_are_decoded_and_not_shown() {
    let url = CoordinatorUrl::parse("https://a.example").unwrap();
    let environment = Environment::of([("https_proxy", "http://me%40home:p%3Aw%25@proxy")]);
    let proxy = environment.proxy_for(&url).unwrap().unwrap();
    assert_eq!(proxy.url(), "http://proxy:80");
    assert_eq!(proxy.url_with_user(), "http://me%40home:p%3Aw%25@proxy:80");
    assert_eq!(proxy.user(), Some(("me@home".into(), "p:w%".into())));
    assert_eq!(proxy.authorization().as_deref(), Some("Basic bWVAaG9tZTpwOncl"));
    for shown in [format!("{proxy:?}"), proxy.to_string(), format!("{environment:?}")] {
        assert!(!shown.contains("p%3A") && !shown.contains("me%40"), "{shown}");
    }
}

#[test]
fn authorities_are_read_as_openssl_does() {
    let folder = std::env::temp_dir().join(format!("pet-network-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let certificate = |name: &str| {
        format!("comment \u{e9}\n-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\nmore\n")
    };
    let write = |file: &str, content: String| {
        let path = folder.join(file);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write("ca.pem", certificate("AAAA"));
    write("0123abcd.0", certificate("BBBB"));
    write("old.pem", certificate("CCCC"));
    let empty = write("empty.pem", "nothing".into());
    let folder_name = folder.to_str().unwrap().to_owned();
    let read = |variables: &[(&str, &str)]| {
        let environment = Environment::of(variables.iter().copied());
        let found = environment.authorities()?;
        Ok::<_, Error>(found.map(|found| String::from_utf8(found.pem().to_vec()).unwrap()))
    };
    let block =
        |name: &str| format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n");
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("SSL_CERT_FILE", "")]), Ok(None));
    assert_eq!(read(&[("SSL_CERT_FILE", &file)]), Ok(Some(block("AAAA"))));
    assert_eq!(read(&[("SSL_CERT_DIR", &folder_name)]), Ok(Some(block("BBBB"))));
    let both = [("SSL_CERT_FILE", &*file), ("SSL_CERT_DIR", &folder_name)];
    assert_eq!(read(&both), Ok(Some(block("AAAA") + &block("BBBB"))));
    for bundle in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        assert_eq!(read(&[(bundle, &file)]), Ok(Some(block("AAAA"))));
        assert_eq!(read(&[(bundle, &folder_name)]), Ok(Some(block("BBBB"))));
    }
    assert_eq!(
        read(&[("SSL_CERT_FILE", &file), ("CURL_CA_BUNDLE", "/nowhere")]),
        Ok(Some(block("AAAA")))
    );
    for (variable, path) in
        [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_FILE", &empty), ("CURL_CA_BUNDLE", "/nowhere")]
    {
        let error = read(&[(variable, path)]).unwrap_err().to_string();
        assert!(error.contains(variable), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
