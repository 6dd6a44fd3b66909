//! Label sets.

use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Place {
    pub(super) service: String,
    pub(super) method: String,
    pub(super) route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Requests {
    pub(super) role: &'static str,
    pub(super) service: String,
    pub(super) method: String,
    pub(super) route: String,
    pub(super) status_class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Incomplete {
    pub(super) service: String,
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Protocol {
    pub(super) protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Lost {
    pub(super) cause: &'static str,
    pub(super) direction: &'static str,
}

macro_rules! one_label {
    ($($name:ident: $label:ident;)+) => {
        $(#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name {
            pub(super) $label: String,
        })+
    };
}

one_label! {
    Binding: binding;
    SeverityLabel: severity;
    Buffer: buffer;
    Name: name;
    Stage: stage;
    Queue: queue;
    Program: program;
}
