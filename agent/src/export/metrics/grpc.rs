//! Calls of gRPC in its own terms: most of those that fail have the status 200.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::labels::Place;
use crate::{
    call::{Call, Role},
    grpc::Grpc,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Codes {
    role: &'static str,
    service: String,
    route: String,
    code: &'static str,
}

/// Counters of one endpoint, by role and code, at most 38: a call costs no look-up by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(Vec<(Role, &'static str, Counter)>);

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
    pub(super) fn call(&self, call: &Call, place: &Place, counters: &mut Counters) {
        let Some(grpc) = Grpc::of(call) else { return };
        let code = grpc.code.map_or("none", |code| code.as_str());
        let known = counters.0.iter().find(|(role, of, _)| (*role, *of) == (call.role, code));
        if let Some((.., counter)) = known {
            counter.inc();
            return;
        }
        let codes = Codes {
            role: call.role.as_str(),
            service: place.service.clone(),
            route: place.route.clone(),
            code,
        };
        let counter = self.calls.get_or_create(&codes).clone();
        counter.inc();
        counters.0.push((call.role, code, counter));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::{
        http::Headers,
        inventory::testing::{call, grpc},
    };

    #[test]
    fn calls_are_counted_by_code_and_others_are_not() {
        let metrics = GrpcMetrics::default();
        let place = Place { service: "s".into(), method: "POST".into(), route: "/a.B/C".into() };
        let mut counters = Counters::default();
        let mut unknown = grpc("/a.B/C", "0");
        unknown.response.as_mut().unwrap().trailers = Headers::default();
        let failed = grpc("/a.B/C", "14");
        for call in [&call("POST", "/a.B/C", 200), &unknown, &failed, &failed] {
            metrics.call(call, &place, &mut counters);
        }
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let labels = "role=\"server\",service=\"s\",route=\"/a.B/C\"";
        for (code, calls) in [("none", 1), ("UNAVAILABLE", 2)] {
            let line = format!("grpc_calls_total{{{labels},code=\"{code}\"}} {calls}");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("grpc_calls_total{").count(), 2, "{text}");
    }
}
