use waki::{handler, ErrorCode, Request, Response};

#[handler]
fn handle(request: Request) -> Result<Response, ErrorCode> {
    let (status, body) = match request.path() {
        "/" => (200, "Hello from waki"),
        _ => (404, "not found"),
    };
    Response::builder().status_code(status).header("content-type", "text/plain").body(body).build()
}
