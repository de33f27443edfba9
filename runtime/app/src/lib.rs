use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;

/// Response headers that say who answered, and the variables in which the runtime passes it in.
const IDENTITY: [(&str, &str); 3] = [
    ("x-served-by", "SERVED_BY"),
    ("x-release", "RELEASE"),
    ("x-instance", "INSTANCE"),
];

#[http_component]
fn handle_request(_request: Request) -> anyhow::Result<impl IntoResponse> {
    let mut response = Response::builder();
    response.status(200).header("content-type", "text/plain");
    for (header, variable) in IDENTITY {
        if let Ok(value) = std::env::var(variable) {
            response.header(header, value);
        }
    }
    Ok(response.body("Hello, Fermyon").build())
}
