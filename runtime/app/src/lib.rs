use std::sync::LazyLock;

use wasi::exports::http::incoming_handler::Guest;
use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

/// Response headers that say who answered, and the variables in which the runtime passes it in.
const IDENTITY: [(&str, &str); 3] = [
    ("x-served-by", "SERVED_BY"),
    ("x-release", "RELEASE"),
    ("x-instance", "INSTANCE"),
];

/// The same for every request that an instance answers.
static HEADERS: LazyLock<Fields> = LazyLock::new(|| {
    let mut headers = vec![("content-type".to_string(), b"text/plain".to_vec())];
    for (header, variable) in IDENTITY {
        if let Ok(value) = std::env::var(variable) {
            headers.push((header.to_string(), value.into_bytes()));
        }
    }
    Fields::from_list(&headers).expect("valid headers")
});

struct App;

impl Guest for App {
    fn handle(_request: IncomingRequest, answer: ResponseOutparam) {
        let response = OutgoingResponse::new(HEADERS.clone());
        let body = response.body().expect("the body is asked for once");
        ResponseOutparam::set(answer, Ok(response));

        let stream = body.write().expect("the stream is asked for once");
        // A client that has gone away is no error of the app's.
        let _ = stream.blocking_write_and_flush(b"Hello, Fermyon");
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

wasi::http::proxy::export!(App);
