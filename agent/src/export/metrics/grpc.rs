//! Calls of gRPC in its own terms: most of those that fail have the status 200.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::labels::Place;
use crate::{call::Call, grpc::Grpc};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Codes {
    role: &'static str,
    service: String,
    route: String,
    code: &'static str,
}

/// Metrics of gRPC: 18 codes and none, of each endpoint that has series of its own.
#[derive(Default)]
pub(super) struct GrpcMetrics {
    calls: Family<Codes, Counter>,
}

impl GrpcMetrics {
    pub(super) fn register(&self, own: &mut Registry) {
        own.register(
            "grpc_calls",
            "Calls of gRPC by the code that they ended with",
            self.calls.clone(),
        );
    }

    /// Counts a call, if it is one of gRPC.
    pub(super) fn call(&self, call: &Call, place: &Place) {
        let Some(grpc) = Grpc::of(call) else { return };
        let codes = Codes {
            role: call.role.as_str(),
            service: place.service.clone(),
            route: place.route.clone(),
            code: grpc.code.map_or("none", |code| code.as_str()),
        };
        self.calls.get_or_create(&codes).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::{
        http::{Headers, Version},
        inventory::testing::call,
    };

    #[test]
    fn calls_are_counted_by_code_and_others_are_not() {
        let metrics = GrpcMetrics::default();
        let place = Place { service: "s".into(), method: "POST".into(), route: "/a.B/C".into() };
        let mut failed = call("POST", "/a.B/C", 200);
        metrics.call(&failed, &place);
        failed.request.version = Version::Http2;
        failed.request.headers = Headers::from_pairs([("content-type", "application/grpc")]);
        metrics.call(&failed, &place);
        if let Some(response) = &mut failed.response {
            response.trailers = Headers::from_pairs([("grpc-status", "14")]);
        }
        metrics.call(&failed, &place);
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let labels = "role=\"server\",service=\"s\",route=\"/a.B/C\"";
        for code in ["none", "UNAVAILABLE"] {
            let line = format!("grpc_calls_total{{{labels},code=\"{code}\"}} 1");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("grpc_calls_total{").count(), 2, "{text}");
    }
}
