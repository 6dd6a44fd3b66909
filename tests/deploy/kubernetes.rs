//! The `DaemonSet`, as kustomize renders it.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::{CAPABILITIES, MEMORY_MIB, PORT, deploy, document, documents, output, strings};

/// Renders the base with whichever of the two programs is there.
fn render() -> Result<Vec<Value>> {
    for (program, command) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        if Command::new(program).arg("version").arg("--help").output().is_ok() {
            let (rendered, _) =
                output(Command::new(program).arg(command).arg(deploy("daemonset")))?;
            return documents(&rendered);
        }
    }
    bail!("neither kustomize nor kubectl (Debian: apt-get install kubernetes-client)")
}

fn rendered(kind: &str) -> Result<Value> {
    let mut documents = render()?.into_iter().filter(|document| document["kind"] == kind);
    let document = documents.next().with_context(|| format!("no {kind}"))?;
    if documents.next().is_some() {
        bail!("more than one {kind}");
    }
    Ok(document)
}

fn pod() -> Result<Value> {
    rendered("DaemonSet")?.pointer("/spec/template/spec").cloned().context("no pod")
}

fn container() -> Result<Value> {
    let pod = pod()?;
    match pod.pointer("/containers").and_then(Value::as_array).map(Vec::as_slice) {
        Some([container]) => Ok(container.clone()),
        _ => bail!("not one container"),
    }
}

#[test]
fn kustomize_renders_every_manifest_into_the_namespace() {
    let documents = render().unwrap();
    let kinds: BTreeSet<&str> =
        documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["DaemonSet", "Namespace", "NetworkPolicy", "ServiceAccount"])
    );
    for document in documents.iter().filter(|document| document["kind"] != "Namespace") {
        assert_eq!(document["metadata"]["namespace"], "apiscope");
    }
}

#[test]
fn the_kustomization_lists_every_file_of_its_folder() {
    let kustomization = document("daemonset/kustomization.yaml").unwrap();
    let listed: BTreeSet<String> =
        strings(&kustomization["resources"]).into_iter().map(str::to_owned).collect();
    let present: BTreeSet<String> = fs::read_dir(deploy("daemonset"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(listed, present);
}

#[test]
fn the_container_has_the_capabilities_that_it_needs_and_no_other_power() {
    let context = &container().unwrap()["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"], "add": CAPABILITIES }));
}

#[test]
fn the_pod_sees_the_processes_of_the_node_and_stays_in_the_pod_network() {
    let pod = pod().unwrap();
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["hostNetwork"], false);
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
}

#[test]
fn nobody_gets_a_token_of_the_api_server() {
    assert_eq!(rendered("ServiceAccount").unwrap()["automountServiceAccountToken"], false);
    let pod = pod().unwrap();
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["serviceAccountName"], "apiscope");
}

#[test]
fn the_namespace_admits_pods_that_see_the_host() {
    let namespace = rendered("Namespace").unwrap();
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn only_the_state_of_the_host_can_be_written() {
    let (pod, container) = (pod().unwrap(), container().unwrap());
    let mounts = container["volumeMounts"].as_array().unwrap();
    let volumes = pod["volumes"].as_array().unwrap();
    assert_eq!(mounts.len(), volumes.len());
    for mount in mounts {
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        assert_eq!(volume["hostPath"]["path"], mount["mountPath"]);
        let is_state = mount["mountPath"] == "/var/lib/apiscope";
        assert_eq!(mount["readOnly"] == true, !is_state, "{mount}");
    }
}

#[test]
fn arguments_port_probes_and_annotations_agree() {
    let container = container().unwrap();
    let listen = format!("0.0.0.0:{PORT}");
    let expected =
        ["run", "--all", "--output", "none", "--state", "/var/lib/apiscope", "--listen", &listen];
    assert_eq!(strings(&container["args"]), expected);
    let ports = json!([{ "name": "metrics", "containerPort": PORT, "protocol": "TCP" }]);
    assert_eq!(container["ports"], ports);
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "metrics" }));
    }
    let daemonset = rendered("DaemonSet").unwrap();
    let annotations = daemonset.pointer("/spec/template/metadata/annotations").unwrap();
    assert_eq!(annotations["prometheus.io/port"], PORT.to_string());
}

#[test]
fn only_the_metrics_port_can_be_reached_and_nothing_from_inside() {
    let policy = rendered("NetworkPolicy").unwrap();
    let daemonset = rendered("DaemonSet").unwrap();
    let spec = &policy["spec"];
    let pods = daemonset.pointer("/spec/selector").unwrap();
    assert_eq!(&spec["podSelector"], pods);
    assert_eq!(strings(&spec["policyTypes"]), ["Ingress", "Egress"]);
    assert_eq!(spec["egress"], json!([]));
    let ports = spec.pointer("/ingress/0/ports").unwrap();
    assert_eq!(ports, &json!([{ "port": "metrics", "protocol": "TCP" }]));
    assert_eq!(spec["ingress"].as_array().unwrap().len(), 1);
}

#[test]
fn memory_is_bounded_and_the_image_is_of_this_release() {
    let container = container().unwrap();
    assert_eq!(container["resources"]["limits"]["memory"], format!("{MEMORY_MIB}Mi"));
    assert_eq!(container["image"], concat!("apiscope:", env!("CARGO_PKG_VERSION")));
}
