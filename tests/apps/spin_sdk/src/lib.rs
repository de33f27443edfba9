use spin_sdk::http::{IntoResponse, Request, Response};
use spin_sdk::http_component;

#[http_component]
fn handle(request: Request) -> impl IntoResponse {
    let (status, body) = match request.path() {
        "/" => (200, "Hello from Spin's SDK"),
        _ => (404, "not found"),
    };
    Response::builder().status(status).header("content-type", "text/plain").body(body).build()
}
