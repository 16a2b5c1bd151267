//! TLS, with certificates made for the occasion.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use pet_coordinator::{settings::Settings, Coordinator};
use pet_core::participant::Event;
use pet_transport_tokio::network::Environment;
use pet_transport_tokio::{Config, Participant};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, Identity};
use rustls::{
    crypto::ring,
    pki_types::{pem::PemObject, CertificateDer},
    ClientConfig, RootCertStore,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Nothing here takes a tenth of this; what does is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// An authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn certify(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts nobody else.
    fn client(&self, identity: Option<(String, String)>) -> Client {
        let mut builder = Client::builder()
            .tls_built_in_root_certs(false)
            .add_root_certificate(Certificate::from_pem(self.pem.as_bytes()).unwrap());
        if let Some((certificate, key)) = identity {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }
}

/// Where a server has its files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn certify(&self, authority: &Authority) {
        let (certificate, key) = authority.certify(ExtendedKeyUsagePurpose::ServerAuth);
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::for_model_length(4);
        settings.api.bind_address.set_port(0);
        settings.api.tls_certificate = Some(self.path("cert.pem"));
        settings.api.tls_key = Some(self.path("key.pem"));
        settings
    }
}

async fn status(client: &Client, address: SocketAddr) -> Option<u16> {
    let answer = client.get(format!("https://{address}/params")).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

/// What a participant of each transport says first: nothing if it reaches the coordinator.
async fn troubles(url: &str, environment: &Environment) -> [Option<String>; 2] {
    let trouble = |event: Event| match event {
        Event::NewRound { .. } => None,
        Event::Trouble(trouble) => Some(trouble.to_string()),
        event => panic!("{event:?}"),
    };
    let mut config = Config::new(url).unwrap();
    config.environment = environment.clone();
    let mut participant = Participant::new(config).unwrap();
    let event = timeout(DEADLINE, participant.next_event()).await.expect("in time").unwrap();
    let first = trouble(event);
    let mut config = pet_transport_blocking::Config::new(url).unwrap();
    config.environment = environment.clone();
    let second = tokio::task::spawn_blocking(move || {
        let mut participant = pet_transport_blocking::Participant::new(config).unwrap();
        participant.next_event(Some(DEADLINE)).unwrap().expect("in time")
    });
    [first, trouble(second.await.unwrap())]
}

/// `pet-coordinator status` with that as its environment: its exit status, and what it says.
fn ask_for_status(url: &str, environment: &[(&str, &Path)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
    command.args(["status", "--url", url]).stdin(Stdio::null()).env_clear();
    let output = command.envs(environment.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A company's own authority, in the variables of OpenSSL, curl and requests.
#[tokio::test(flavor = "multi_thread")]
async fn authorities_of_the_environment_are_trusted() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let ca = files.write("ca.pem", &authority.pem);
    let coordinator = Coordinator::start(files.settings()).await.unwrap();
    let url = format!("https://{}", coordinator.local_addr());
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        let environment = Environment::of([(variable, ca.to_str().unwrap())]);
        assert_eq!(troubles(&url, &environment).await, [None, None], "{variable}");
        assert_eq!(ask_for_status(&url, &[(variable, &ca)]), (Some(0), String::new()));
    }
    let told = troubles(&url, &Environment::default()).await.map(Option::unwrap);
    for text in [&told[0], &told[1], &ask_for_status(&url, &[]).1] {
        assert!(text.contains("SSL_CERT_FILE") && text.contains("Tls(ca="), "{text}");
    }
    // It is refused at once, and not only when somebody is asked.
    let environment = Environment::of([("SSL_CERT_FILE", "/nowhere.pem")]);
    let mut config = Config::new(&url).unwrap();
    config.environment = environment.clone();
    let error = Participant::new(config).unwrap_err().to_string();
    assert!(error.contains("SSL_CERT_FILE") && error.contains("/nowhere.pem"), "{error}");
    let mut config = pet_transport_blocking::Config::new(&url).unwrap();
    config.environment = environment;
    let error = pet_transport_blocking::Participant::new(config).unwrap_err().to_string();
    assert!(error.contains("SSL_CERT_FILE") && error.contains("/nowhere.pem"), "{error}");
    let (code, error) = ask_for_status(&url, &[("SSL_CERT_FILE", Path::new("/nowhere.pem"))]);
    assert!(code == Some(2) && error.contains("/nowhere.pem"), "{error}");
    coordinator.shutdown().await.unwrap();
}

/// What `openssl req -x509` makes is an authority, and no server's own: it is said how to make it right, and that is
/// right then.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_sign_themselves_work_or_are_explained() {
    for (is_ca, works) in
        [(IsCa::Ca(BasicConstraints::Unconstrained), false), (IsCa::ExplicitNoCa, true)]
    {
        let files = Files::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = is_ca;
        let certificate = files.write("cert.pem", &params.self_signed(&key).unwrap().pem());
        files.write("key.pem", &key.serialize_pem());
        let coordinator = Coordinator::start(files.settings()).await.unwrap();
        let url = format!("https://{}", coordinator.local_addr());
        let environment = Environment::of([("SSL_CERT_FILE", certificate.to_str().unwrap())]);
        for told in troubles(&url, &environment).await {
            match told {
                None => assert!(works),
                Some(text) => assert!(!works && text.contains("CA:FALSE"), "{text}"),
            }
        }
        coordinator.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_scheme_is_told_by_commands() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let with_tls = Coordinator::start(files.settings()).await.unwrap();
    let mut settings = Settings::for_model_length(4);
    settings.api.bind_address.set_port(0);
    let without = Coordinator::start(settings).await.unwrap();
    let url = format!("https://{}", without.local_addr());
    let (code, error) = ask_for_status(&url, &[]);
    assert!(code == Some(3) && error.contains("does not speak TLS: give http://"), "{error}");
    let url = format!("http://{}", with_tls.local_addr());
    let (code, error) = ask_for_status(&url, &[]);
    assert!(code == Some(3) && error.contains("give https://"), "{error}");
    with_tls.shutdown().await.unwrap();
    without.shutdown().await.unwrap();
}

/// The commands that ask a coordinator speak TLS with authorities and certificates of one's own.
#[tokio::test(flavor = "multi_thread")]
async fn commands_ask_a_coordinator_that_speaks_tls() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let ca = files.write("ca.pem", &authority.pem);
    let mut settings = files.settings();
    settings.api.tls_client_auth = Some(ca.clone());
    let coordinator = Coordinator::start(settings).await.unwrap();
    let url = format!("https://{}", coordinator.local_addr());
    let (certificate, key) = authority.certify(ExtendedKeyUsagePurpose::ClientAuth);
    let certificate = files.write("client.pem", &certificate);
    let key = files.write("client.key", &key);
    let status = |options: &[(&str, &Path)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"));
        command.args(["status", "--url", &url]).stdin(Stdio::null());
        for (name, path) in options {
            command.arg(name).arg(path);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let all = [("--ca", &*ca), ("--certificate", &*certificate), ("--key", &*key)];
    assert_eq!(status(&all), (Some(0), String::new()));
    // The web's authorities do not know it; without a certificate it does not answer.
    assert_eq!(status(&[]).0, Some(3));
    assert_eq!(status(&all[..1]).0, Some(3));
    assert_eq!(status(&all[..2]).0, Some(2));

    let garbage = files.write("garbage.pem", "nothing of use");
    let (code, error) = status(&[("--ca", &garbage)]);
    assert!(code == Some(2) && error.contains("there is no BEGIN CERTIFICATE in it"), "{error}");
    let (code, error) = status(&[all[0], all[1], ("--key", &garbage)]);
    assert!(code == Some(2) && error.contains("garbage.pem"), "{error}");
    let nowhere = files.path("nowhere.pem");
    let (code, error) = status(&[("--ca", &nowhere)]);
    assert!(code == Some(2) && error.contains("nowhere.pem"), "{error}");
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn certificates_are_used_and_read_again() {
    let (authority, other, files) = (Authority::new(), Authority::new(), Files::new());
    files.certify(&authority);
    let coordinator = Coordinator::start(files.settings()).await.unwrap();
    let address = coordinator.local_addr();
    let client = authority.client(None);
    assert_eq!(status(&client, address).await, Some(200));
    assert_eq!(status(&other.client(None), address).await, None);
    let plain = Client::new().get(format!("http://{address}/params")).send().await;
    assert!(plain.is_err(), "{plain:?}");

    // A participant, over its own connection.
    let mut config = Config::new(&format!("https://{address}")).unwrap();
    config.client = Some(authority.client(None));
    let mut participant = Participant::new(config).unwrap();
    let event = timeout(DEADLINE, participant.next_event()).await.unwrap().unwrap();
    assert!(matches!(event, Event::NewRound { .. }), "{event:?}");

    // What is of no use changes nothing.
    for (name, text) in [("key.pem", "nonsense"), ("cert.pem", ""), ("cert.pem", &other.pem)] {
        let before = fs::read_to_string(files.path(name)).unwrap();
        files.write(name, text);
        let error = coordinator.reload_tls().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        assert_eq!(status(&authority.client(None), address).await, Some(200));
        files.write(name, &before);
    }
    files.certify(&other);
    assert!(coordinator.reload_tls().unwrap());
    assert_eq!(status(&authority.client(None), address).await, None);
    assert_eq!(status(&other.client(None), address).await, Some(200));
    // The connection of before is not cut.
    assert_eq!(status(&client, address).await, Some(200));
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn only_those_with_a_certificate_are_let_in_if_that_is_wanted() {
    let (authority, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new();
    files.certify(&authority);
    let mut settings = files.settings();
    settings.api.tls_client_auth = Some(files.write("clients.pem", &clients.pem));
    let coordinator = Coordinator::start(settings).await.unwrap();
    let address = coordinator.local_addr();
    let with = |from: &Authority| {
        authority.client(Some(from.certify(ExtendedKeyUsagePurpose::ClientAuth)))
    };
    assert_eq!(status(&with(&clients), address).await, Some(200));
    assert_eq!(status(&with(&other), address).await, None);
    assert_eq!(status(&authority.client(None), address).await, None);
    coordinator.shutdown().await.unwrap();
}

/// The blocking transport, with authorities and a certificate of its own.
#[tokio::test]
async fn the_blocking_transport_takes_certificates() {
    use pet_transport_blocking::{Config, Error, Participant, Tls};

    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let mut settings = files.settings();
    settings.api.tls_client_auth = Some(files.write("clients.pem", &authority.pem));
    let coordinator = Coordinator::start(settings).await.unwrap();
    let url = format!("https://{}", coordinator.local_addr());
    let (certificate, key) = authority.certify(ExtendedKeyUsagePurpose::ClientAuth);
    let trusting = Tls::default().trusting(authority.pem.as_bytes()).unwrap();
    let known = trusting.clone().with_identity(certificate.as_bytes(), key.as_bytes()).unwrap();
    for (tls, let_in) in [(Tls::default(), false), (trusting, false), (known, true)] {
        let mut config = Config::new(&url).unwrap();
        config.tls = tls;
        let event = tokio::task::spawn_blocking(|| {
            Participant::new(config).unwrap().next_event(None).unwrap()
        });
        let event = timeout(DEADLINE, event).await.unwrap().unwrap();
        assert_eq!(matches!(event, Some(Event::NewRound { .. })), let_in, "{event:?}");
        assert_eq!(matches!(event, Some(Event::Trouble(_))), !let_in, "{event:?}");
    }
    for (certificate, key) in [("", key.as_str()), (&certificate, ""), (&key, &key)] {
        let made = Tls::default().with_identity(certificate.as_bytes(), key.as_bytes());
        assert!(matches!(made, Err(Error::Certificates(_))), "{made:?}");
    }
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_agrees_on_tls_is_cut_off() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let mut settings = files.settings();
    settings.limits.handshake_time = Duration::from_millis(50);
    settings.limits.connections = 1;
    let coordinator = Coordinator::start(settings).await.unwrap();
    let address = coordinator.local_addr();
    for beginning in [&b""[..], &[22, 3, 1, 0xff]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let ended = timeout(DEADLINE, stream.read(&mut [0; 100])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    }
    // Its place is given back.
    let served = async { while status(&authority.client(None), address).await != Some(200) {} };
    timeout(DEADLINE, served).await.unwrap();
    coordinator.shutdown().await.unwrap();
}

#[tokio::test]
async fn files_that_are_of_no_use_are_told_before_anything_begins() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let certificate = fs::read_to_string(files.path("cert.pem")).unwrap();
    let key = fs::read_to_string(files.path("key.pem")).unwrap();
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    for (certificate, key, expected) in [
        (None, Some(key.as_str()), "api.tls_certificate"),
        (Some(certificate.as_str()), None, "api.tls_key"),
        (Some(""), Some(&key), "BEGIN CERTIFICATE"),
        (Some(&certificate), Some(""), "api.tls_key"),
        (Some(&certificate), Some(&other_key), "cannot be used with the key"),
    ] {
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            match text {
                Some(text) => drop(files.write(name, text)),
                None => fs::remove_file(files.path(name)).unwrap_or_default(),
            }
        }
        let error = Coordinator::start(files.settings()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

struct Server(Child);

impl Server {
    fn hang_up(&self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until_served(client: impl Fn() -> Client, address: SocketAddr) {
    let served = async {
        while status(&client(), address).await != Some(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, served).await.expect("the certificate is used");
}

async fn address(port_file: &Path) -> SocketAddr {
    let there = async {
        loop {
            if let Ok(text) = fs::read_to_string(port_file) {
                return text.parse().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, there).await.expect("it listens")
}

#[tokio::test]
async fn a_signal_has_the_files_read_again() {
    let (authority, other, files) = (Authority::new(), Authority::new(), Files::new());
    files.certify(&authority);
    let option = |key: &str, name: &str| format!("api.{key}={}", files.path(name).display());
    let server = Command::new(env!("CARGO_BIN_EXE_pet-coordinator"))
        .args(["serve", "--model-length", "4", "--bind", "127.0.0.1:0"])
        .args(["--set", &option("tls_certificate", "cert.pem")])
        .args(["--set", &option("tls_key", "key.pem")])
        .arg("--port-file")
        .arg(files.path("port"))
        .current_dir(files.0.path())
        .stdout(Stdio::null())
        .stderr(fs::File::create(files.path("log")).unwrap())
        .spawn();
    let server = Server(server.unwrap());
    let address = address(&files.path("port")).await;
    until_served(|| authority.client(None), address).await;

    let good = fs::read_to_string(files.path("key.pem")).unwrap();
    files.write("key.pem", "nonsense");
    server.hang_up();
    let told = async {
        while !fs::read_to_string(files.path("log")).unwrap().contains("stay as they were") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, told).await.expect("the log says so");
    files.write("key.pem", &good);
    until_served(|| authority.client(None), address).await;

    files.certify(&other);
    server.hang_up();
    until_served(|| other.client(None), address).await;
    assert_eq!(status(&authority.client(None), address).await, None);
}

/// Within TLS as without it: who sends nothing more may wait for the answer.
#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_is_answered() {
    let (authority, files) = (Authority::new(), Files::new());
    files.certify(&authority);
    let coordinator = Coordinator::start(files.settings()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..3 {
        let stream = TcpStream::connect(coordinator.local_addr()).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let head = b"POST /message HTTP/1.1\r\nhost: x\r\ncontent-length: 300\r\n\r\n";
        stream.write_all(&[&head[..], &[7; 300]].concat()).await.unwrap();
        // Says so in TLS, and closes the sending side of TCP.
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    coordinator.shutdown().await.unwrap();
}
