//! The OpenAPI document tells the truth: it has every route, and no other; the answers of a running
//! coordinator are those that it describes.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use pet_coordinator::{
    settings::{MinMax, Settings},
    Coordinator,
};
use reqwest::{Client, Method};
use serde_json::{json, Value};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn document() -> Value {
    serde_json::from_str(include_str!("../src/http/openapi.json")).unwrap()
}

/// Follows a reference within the document.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => document
            .pointer(reference.strip_prefix('#').unwrap())
            .unwrap_or_else(|| panic!("{reference} is not there")),
        None => value,
    }
}

fn paths(document: &Value) -> BTreeSet<String> {
    document["paths"].as_object().unwrap().keys().cloned().collect()
}

/// What looks like a path in the code that serves HTTP: the router itself does not tell.
fn routes(directory: &Path) -> BTreeSet<String> {
    let mut routes = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        } else if path.is_dir() {
            routes.extend(self::routes(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            routes.extend(literals(&fs::read_to_string(path).unwrap()));
        }
    }
    routes
}

/// The paths among the string literals of everything before a file's tests.
fn literals(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let pieces = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    let is_path = |text: &&str| {
        text.starts_with('/')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "/{}._-".contains(c))
    };
    pieces.filter(is_path).map(str::to_owned).collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let http = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut routes = routes(&http);
    // The files of the dashboard are described together.
    let files = routes.len();
    routes.retain(|route| !route.starts_with("/dashboard/"));
    assert!(routes.len() < files);
    routes.insert("/dashboard/{file}".to_owned());
    assert_eq!(routes, paths(&document()));
}

#[test]
fn the_document_is_sound() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
            assert!(operation["summary"].is_string(), "{path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            for response in operation["responses"].as_object().unwrap().values() {
                assert!(resolve(&document, response)["description"].is_string(), "{path}");
            }
        }
    }
    references(&document, &document);
}

/// Every reference leads somewhere.
fn references(document: &Value, value: &Value) {
    resolve(document, value);
    match value {
        Value::Object(members) => members.values().for_each(|value| references(document, value)),
        Value::Array(items) => items.iter().for_each(|value| references(document, value)),
        _ => {}
    }
}

/// The address of an operation, with the examples of its parameters.
fn target(document: &Value, path: &str, operation: &Value) -> String {
    let mut target = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = resolve(document, parameter);
        let name = parameter["name"].as_str().unwrap();
        let example = parameter["example"].as_str().unwrap_or_default();
        match parameter["in"].as_str().unwrap() {
            "path" => target = target.replace(&format!("{{{name}}}"), example),
            "query" => {
                let separator = if target.contains('?') { '&' } else { '?' };
                target = format!("{target}{separator}{name}={example}");
            }
            _ => {}
        }
    }
    target
}

/// Checks an answer against the description of its operation.
async fn check(document: &Value, what: &str, operation: &Value, response: reqwest::Response) {
    let status = response.status().as_u16().to_string();
    let described = match &operation["responses"][&status] {
        Value::Null => &operation["responses"][format!("{}XX", &status[..1])],
        described => described,
    };
    assert!(described.is_object(), "{what}: {status} is not described");
    let described = resolve(document, described);
    for (name, _) in described["headers"].as_object().into_iter().flatten() {
        assert!(response.headers().contains_key(name), "{what}: {status} comes without {name}");
    }
    let content_type = response
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().split(';').next().unwrap_or_default().to_owned());
    let Some(content_type) = content_type else {
        return;
    };
    let content = &described["content"][&content_type];
    assert!(content.is_object(), "{what}: {status} comes as {content_type}");
    if let Some(schema) = content.get("schema").filter(|_| content_type == "application/json") {
        let mut schema = schema.clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{what}: {errors:?}: {body}");
    }
}

#[tokio::test]
async fn a_running_coordinator_answers_as_described() {
    let document = document();
    let mut settings = Settings::for_model_length(10);
    settings.api.bind_address.set_port(0);
    // Rounds fail soon, so that there is a past.
    settings.pet.sum.time = MinMax { min: Duration::ZERO, max: Duration::from_millis(50) };
    let coordinator = Coordinator::start(settings).await.unwrap();
    let client = Client::new();
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let example = item.as_object().unwrap().values().next().unwrap();
        let target = target(&document, path, example);
        for method in METHODS {
            let name = method.to_uppercase();
            let described = item.get(method);
            let url = format!("http://{}{target}", coordinator.local_addr());
            let what = format!("{name} {target}");
            let request = client.request(Method::from_bytes(name.as_bytes()).unwrap(), &url);
            let response = request.body("x").send().await.unwrap();
            match described {
                Some(operation) => check(&document, &what, operation, response).await,
                None => assert_eq!(response.status(), 405, "{what}"),
            }
            checked += 1;
        }
    }
    assert_eq!(checked, METHODS.len() * paths(&document).len());

    // Answers that the examples do not bring about.
    for (path, target, headers, status) in [
        ("/params", "/params", [("if-none-match", "*")], 304),
        ("/params", "/params", [("range", "bytes=0-9")], 206),
        ("/params", "/params", [("range", "bytes=9999-")], 416),
        ("/params", "/params", [("if-match", "\"x\"")], 412),
        ("/seeds", "/seeds?pk=x", [("accept", "*/*")], 400),
        ("/models/{round}", "/models/x", [("accept", "*/*")], 400),
        ("/openapi.json", "/openapi.json", [("if-none-match", "*")], 304),
    ] {
        let mut request = client.get(format!("http://{}{target}", coordinator.local_addr()));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{target}");
        check(&document, target, &document["paths"][path]["get"], response).await;
    }
    let request = client.post(format!("http://{}/message", coordinator.local_addr()));
    let request = request.header("accept", "application/problem+json").body("no message");
    let response = request.send().await.unwrap();
    assert!(response.status().is_client_error());
    check(&document, "/message", &document["paths"]["/message"]["post"], response).await;

    let url = format!("http://{}/status", coordinator.local_addr());
    let end = Instant::now() + Duration::from_secs(120);
    while coordinator.status().rounds.is_empty() {
        assert!(Instant::now() < end, "no round has failed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let response = client.get(url).send().await.unwrap();
    check(&document, "/status", &document["paths"]["/status"]["get"], response).await;
    coordinator.shutdown().await.unwrap();
}

#[test]
fn a_wrong_answer_would_be_noticed() {
    let schema = json!({
        "$ref": "#/components/schemas/ModelList",
        "components": document()["components"],
    });
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&json!({ "models": [{ "round_id": 1 }] })));
    assert!(!validator.is_valid(&json!({ "models": [{ "round": 1 }] })));
    let source = "(\"/a\", get(x))\n// not \"/b\"\n#[cfg(test)]\n\"/c\"";
    assert_eq!(literals(source), BTreeSet::from(["/a".to_owned()]));
}
