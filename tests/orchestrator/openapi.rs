//! The generated description says what the server does.

use serde_json::Value;

use crate::harness::Server;

#[tokio::test]
async fn every_documented_route_exists_and_takes_its_method() {
    let server = Server::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let key = server.running.admin_key();
    let document = http.get(server.url("/api/v1/openapi.json")).bearer_auth(key.expose());
    let document: Value = document.send().await.unwrap().json().await.unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 20, "{}", paths.len());
    for (path, methods) in paths {
        let url = server.url(&path.replace("{id}", "7").replace("{host}", "h").replace("{runner}", "x"));
        for method in methods.as_object().unwrap().keys() {
            let request = http.request(method.to_uppercase().parse().unwrap(), &url);
            let answer = request.bearer_auth(key.expose()).send().await.unwrap();
            assert_ne!(answer.status(), 405, "{method} {path}");
            // What a call answers is described, its refusals too.
            let described = &document["paths"][path][method]["responses"];
            assert!(
                described.get(answer.status().as_str()).is_some(),
                "{method} {path}: {}",
                answer.status()
            );
            assert!(described.get("507").is_some(), "{method} {path}");
            if answer.status() == 404 {
                let body: Value = answer.json().await.unwrap();
                assert_ne!(body["message"], "there is nothing at this path", "{method} {path}");
            }
        }
    }
}
