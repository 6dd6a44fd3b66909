//! gRPC over HTTP/2: what its path, its messages and its trailer fields say
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

mod code;
mod messages;

pub use code::Code;
pub use messages::Messages;
pub(crate) use messages::Scanner;

use crate::{
    call::Call,
    http::{Headers, Response, Version},
};

/// A call of a procedure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grpc<'a> {
    /// Its name with that of its service, `pkg.Service/Method`: OpenTelemetry `rpc.method`.
    /// `None` when the path is no such name, or is not known.
    pub method: Option<&'a str>,
    /// How it ended; `None` when that was not seen.
    pub code: Option<Code>,
    /// Messages of the request; `None` when they were not counted.
    pub request: Option<Messages>,
    /// Messages of the response; `None` when there is none, or they were not counted.
    pub response: Option<Messages>,
}

impl<'a> Grpc<'a> {
    /// What a call says as one of gRPC; `None` when it is not known to be one.
    pub fn of(call: &'a Call) -> Option<Self> {
        let request = &call.request;
        if request.version != Version::Http2 || !is_grpc(&request.headers) {
            return None;
        }
        Some(Self {
            method: method(request.path()),
            code: call.response.as_ref().and_then(code),
            request: request.body.messages,
            response: call.response.as_ref().and_then(|response| response.body.messages),
        })
    }
}

/// The code of a call that failed in the terms of gRPC.
pub fn error(call: &Call) -> Option<Code> {
    Grpc::of(call)?.code.filter(|code| code.is_error())
}

/// Whether a message is one of gRPC, by its media type. Not gRPC-Web, which is framed otherwise.
pub(crate) fn is_grpc(headers: &Headers) -> bool {
    const NAME: &str = "application/grpc";
    let Some(value) = headers.get_str("content-type") else { return false };
    let value = value.trim_ascii();
    let named = value.get(..NAME.len()).is_some_and(|it| it.eq_ignore_ascii_case(NAME));
    named && matches!(value.as_bytes().get(NAME.len()), None | Some(b'+' | b';' | b' '))
}

/// `pkg.Service/Method` of a path.
fn method(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?;
    let (service, method) = name.rsplit_once('/')?;
    (!service.is_empty() && !method.is_empty()).then_some(name)
}

/// The code in the trailer fields, or in the head of a response that is nothing else.
fn code(response: &Response) -> Option<Code> {
    const FIELD: &str = "grpc-status";
    let value = response.trailers.get_str(FIELD).or_else(|| response.headers.get_str(FIELD))?;
    value.trim_ascii().parse().ok().map(Code::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::testing::call;

    fn of(path: &str, media_type: &str, trailers: &[(&str, &str)]) -> Call {
        let mut call = call("POST", path, 200);
        call.request.version = Version::Http2;
        call.request.headers = Headers::from_pairs([("content-type", media_type)]);
        if let Some(response) = &mut call.response {
            response.trailers = Headers::from_pairs(trailers.iter().copied());
        }
        call
    }

    #[test]
    fn a_call_is_told_in_the_terms_of_grpc() {
        let call = of("/shop.v1.Orders/Get", "application/grpc+proto", &[("grpc-status", "5")]);
        let grpc = Grpc::of(&call).unwrap();
        assert_eq!(grpc.method, Some("shop.v1.Orders/Get"));
        assert_eq!(grpc.code.map(Code::as_str), Some("NOT_FOUND"));
        assert_eq!((grpc.request, grpc.response), (None, None));
    }

    #[test]
    fn a_response_without_messages_has_the_code_in_its_head() {
        let mut call = of("/a.B/C", "application/grpc", &[]);
        call.response.as_mut().unwrap().headers = Headers::from_pairs([("grpc-status", "12")]);
        assert_eq!(Grpc::of(&call).unwrap().code, Some(Code::new(12)));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let call = of("/a.B/C", "application/grpc", &[("grpc-status", "five")]);
        assert_eq!(Grpc::of(&call).unwrap().code, None);
        for path in ["/", "/a.B", "/a.B/", "//C", "*"] {
            assert_eq!(
                Grpc::of(&of(path, "application/grpc", &[])).unwrap().method,
                None,
                "{path}"
            );
        }
    }

    #[test]
    fn other_calls_are_none() {
        for media_type in ["application/grpc-web", "application/json", "application/grpcish", ""] {
            assert_eq!(Grpc::of(&of("/a.B/C", media_type, &[])), None, "{media_type}");
        }
        let mut call = of("/a.B/C", "application/grpc", &[]);
        call.request.version = Version::Http11;
        assert_eq!(Grpc::of(&call), None);
    }
}
