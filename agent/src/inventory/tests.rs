use super::{
    testing::{call, json},
    *,
};

fn routes(inventory: &Inventory) -> Vec<String> {
    inventory
        .endpoints()
        .map(|endpoint| format!("{} {}", endpoint.key.method, endpoint.key.route))
        .collect()
}

fn calls(inventory: &Inventory) -> u64 {
    inventory.endpoints().map(|endpoint| endpoint.calls).sum()
}

#[test]
fn calls_of_one_template_are_one_endpoint() {
    let mut inventory = Inventory::new(Limits::default());
    let first = inventory.observe(&call("GET", "/users/7?page=2", 200));
    assert!(first.new_endpoint);
    let second = inventory.observe(&call("GET", "/users/8", 200));
    assert!(!second.new_endpoint);
    assert_eq!(second.endpoint, first.endpoint);
    assert!(!inventory.observe(&call("GET", "/users/8", 500)).new_endpoint);
    inventory.observe(&call("POST", "/users", 201));
    assert_eq!(routes(&inventory), ["POST /users", "GET /users/{userId}"]);

    let endpoint = inventory.endpoint(&first.endpoint).unwrap();
    assert_eq!(endpoint.calls, 3);
    assert_eq!(endpoint.statuses, BTreeMap::from([(200, 2), (500, 1)]));
    assert_eq!(endpoint.query_parameters, BTreeMap::from([("page".to_owned(), 1)]));
    assert_eq!(endpoint.auth, BTreeMap::from([(AuthScheme::None, 3)]));
    let service = inventory.services().next().unwrap();
    assert_eq!((&*service.name, service.calls), ("nginx:8080", 4));
}

#[test]
fn a_scan_of_paths_that_do_not_exist_makes_no_endpoints() {
    let mut inventory = Inventory::new(Limits::default());
    inventory.observe(&call("GET", "/users/7", 200));
    for number in 0..10_000 {
        inventory.observe(&call("GET", &format!("/scan{number}/admin.php"), 404));
    }
    inventory.observe(&call("GET", "/users/9999", 404));
    assert_eq!(routes(&inventory), ["GET (not found)", "GET /users/{userId}"]);
    assert_eq!(calls(&inventory), 10_002);
    assert_eq!(inventory.endpoints().next().unwrap().calls, 10_000);

    assert!(inventory.observe(&call("GET", "/scan7/admin.php", 200)).new_endpoint);
    inventory.observe(&call("GET", "/scan7/admin.php", 404));
    assert!(routes(&inventory).contains(&"GET /scan7/admin.php".to_owned()));
    assert_eq!(inventory.endpoints().next().unwrap().calls, 10_000);
}

#[test]
fn merging_keeps_every_count_and_tells_the_store() {
    let mut inventory = Inventory::new(Limits::default());
    let name = |number: u32| -> String {
        [number / 26, number % 26]
            .map(|digit| char::from(b'a' + u8::try_from(digit).unwrap()))
            .iter()
            .collect()
    };
    let observe = |inventory: &mut Inventory, number: u32| {
        inventory.observe(&json(
            call("GET", &format!("/shops/{}/hours", name(number)), 200),
            "",
            r#"{"open":true}"#,
        ))
    };
    for number in 0..31 {
        assert!(observe(&mut inventory, number).new_endpoint);
    }
    assert_eq!(inventory.take_changes().endpoints.len(), 31);
    let merged = observe(&mut inventory, 31);
    assert_eq!(&*merged.endpoint.route, "/shops/{shopId}/hours");
    for number in 0..100 {
        assert_eq!(observe(&mut inventory, number).endpoint, merged.endpoint);
    }
    assert_eq!(routes(&inventory), ["GET /shops/{shopId}/hours"]);
    let endpoint = inventory.endpoint(&merged.endpoint).unwrap();
    assert_eq!((endpoint.calls, endpoint.latency.count()), (132, 132));
    assert_eq!(endpoint.response_schemas[&200]["application/json"].bodies, 132);

    let changes = inventory.take_changes();
    assert_eq!((changes.endpoints.len(), changes.removed.len()), (1, 31));
    let again = inventory.take_changes();
    assert!(again.endpoints.is_empty() && again.removed.is_empty() && again.services.is_empty());
}

#[test]
fn what_was_restored_goes_on() {
    let mut inventory = Inventory::new(Limits::default());
    for path in ["/users/alice42", "/users/bob77", "/users/search", "/x{y}/a\"b", "/7"] {
        inventory.observe(&json(call("GET", path, 200), "1", r#"{"a":[1]}"#));
    }
    inventory.observe(&call("GET", "/nothing", 404));
    let changes = inventory.take_changes();
    let text = serde_json::to_string(&(&changes.services, &changes.endpoints)).unwrap();

    let mut restored = Inventory::new(Limits::default());
    let (services, endpoints) = serde_json::from_str(&text).unwrap();
    restored.restore(services, endpoints);
    assert_eq!(routes(&restored), routes(&inventory));
    let changes = restored.take_changes();
    assert!(changes.endpoints.is_empty() && changes.removed.is_empty());
    for inventory in [&mut restored, &mut inventory] {
        for path in ["/users/carol", "/users/search", "/x{y}/a\"b", "/8"] {
            let call = json(call("GET", path, 200), "1", r#"{"a":[1]}"#);
            assert!(!inventory.observe(&call).new_endpoint, "{path}");
        }
        assert!(!inventory.observe(&call("GET", "/nothing", 404)).new_endpoint);
    }
    let text = |inventory: &Inventory| {
        let endpoints: Vec<_> = inventory.endpoints().collect();
        serde_json::to_string(&endpoints).unwrap()
    };
    assert_eq!(text(&restored), text(&inventory));
}

#[test]
fn tables_overflow_into_other() {
    let mut inventory = Inventory::new(Limits { services: 2, endpoints_per_service: 3 });
    for number in 0..10 {
        inventory.observe(&call("GET", &format!("/p{number}x"), 200));
    }
    assert_eq!(routes(&inventory), ["GET /p0x", "GET /p1x", "GET /p2x", "GET other"]);
    assert_eq!(inventory.dropped().endpoints, 7);
    for port in 1..10_u16 {
        let mut call = call("GET", "/", 200);
        let ends = format!("10.0.0.1:{port}").parse().unwrap();
        let remote = "10.0.0.2:1".parse().unwrap();
        call.connection.ends = crate::call::Ends::Tcp { local: ends, remote };
        inventory.observe(&call);
    }
    let names: Vec<_> = inventory.services().map(|service| &*service.name).collect();
    assert_eq!(names, ["nginx:1", "nginx:8080", "other"]);
    assert_eq!(inventory.dropped().services, 8);
    assert_eq!(calls(&inventory), 19);
}

#[test]
fn targets_that_are_not_paths_are_counted() {
    let mut inventory = Inventory::new(Limits::default());
    inventory.observe(&call("OPTIONS", "*", 200));
    inventory.observe(&call("CONNECT", "example.com:443", 200));
    inventory.observe(&call("XYZZY", "/", 200));
    inventory.observe(&call("GET", &format!("/{}", "a/".repeat(2000)), 200));
    let expected = ["OPTIONS *", "_OTHER /", "CONNECT other", "GET other"];
    assert_eq!(routes(&inventory), expected);
}

#[test]
fn incomplete_and_unanswered_calls_are_counted_as_such() {
    let mut inventory = Inventory::new(Limits::default());
    let mut partial = json(call("POST", "/a", 200), r#"{"a":"#, "");
    partial.request.body.state = crate::http::BodyState::Truncated;
    partial.missing.add(crate::call::Cause::Budget, 10);
    partial.response = None;
    let key = inventory.observe(&partial).endpoint;
    let endpoint = inventory.endpoint(&key).unwrap();
    assert_eq!((endpoint.incomplete, endpoint.unanswered, endpoint.latency.count()), (1, 1, 1));
    let schema = &endpoint.request_schemas["application/json"];
    assert_eq!((schema.bodies, schema.partial, schema.inferred), (1, 1, 0));
}
