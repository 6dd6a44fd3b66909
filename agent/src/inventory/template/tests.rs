use super::*;

const GET: u8 = 0;

/// Feeds paths as an inventory would; gives the route of each in the end.
fn routes(paths: &[String]) -> Vec<String> {
    let mut trie = Trie::new(10_000);
    let mut next = 0;
    for path in paths {
        let path = Path::parse(path).unwrap();
        let Inserted { node, grown, .. } = trie.insert(&path).unwrap();
        if trie.endpoint(node, GET).is_none() {
            trie.set_endpoint(node, GET, next);
            next += 1;
        }
        if let Some(grown) = grown {
            trie.settle(grown, &|_| 1);
        }
    }
    let route = |path: &String| trie.route(trie.find(&Path::parse(path).unwrap()).unwrap()).0;
    paths.iter().map(route).collect()
}

fn route(path: &str) -> String {
    routes(&[path.to_owned()]).remove(0)
}

#[test]
fn values_become_parameters_named_after_their_noun() {
    for (path, expected) in [
        ("/users/7/orders/3", "/users/{userId}/orders/{orderId}"),
        ("/7", "/{id}"),
        ("/", "/"),
        ("/api/v1/7", "/api/v1/{id}"),
        ("/users/7/8", "/users/{userId}/{userId2}"),
        ("/odata/Orders(7)/Lines('a')", "/odata/Orders({orderId})/Lines('{lineId}')"),
        ("/files/7.json", "/files/{fileId}.json"),
        ("/users/{id}", "/users/%7Bid%7D"),
    ] {
        assert_eq!(route(path), expected, "{path}");
    }
}

#[test]
fn many_siblings_are_values() {
    let words = ["al", "be", "ca", "do", "en", "fa", "go", "ha", "is", "jo"];
    let paths: Vec<String> = words
        .iter()
        .flat_map(|a| words.iter().map(move |b| format!("/shops/{a}{b}/hours")))
        .chain(["/shops/search".to_owned()])
        .collect();
    let routes = routes(&paths);
    assert_eq!(routes.last().unwrap(), "/shops/search");
    assert!(routes.iter().rev().skip(1).all(|route| route == "/shops/{shopId}/hours"));
}

#[test]
fn procedures_are_not_values_however_many() {
    let paths: Vec<String> =
        ('a'..='z').chain('A'..='Z').map(|letter| format!("/rpc/get{letter}Thing")).collect();
    assert_eq!(routes(&paths), paths);
}

#[test]
fn names_with_numbers_take_the_words_like_them_along() {
    let paths = ["/users/search", "/users/alice42", "/users/dave", "/users/bob77", "/users/erin"];
    let expected = [
        "/users/search",
        "/users/{userId}",
        "/users/{userId}",
        "/users/{userId}",
        "/users/{userId}",
    ];
    assert_eq!(routes(&paths.map(str::to_owned)), expected);
}

#[test]
fn names_keep_their_ending() {
    let paths = [
        "/bills/alice42.json",
        "/bills/search.json",
        "/bills/.json",
        "/bills/bob77.json",
        "/bills/carol.json",
        "/bills/carol",
        "/models/nova11:count",
        "/models/iris22:count",
        "/models/iris22",
    ];
    let expected = [
        "/bills/{billId}.json",
        "/bills/search.json",
        "/bills/.json",
        "/bills/{billId}.json",
        "/bills/{billId}.json",
        "/bills/carol",
        "/models/{modelId}:count",
        "/models/{modelId}:count",
        "/models/iris22",
    ];
    assert_eq!(routes(&paths.map(str::to_owned)), expected);
}

#[test]
fn names_with_a_dot_are_names() {
    let paths: Vec<String> = ('a'..='z')
        .flat_map(|a| [format!("/users/ann.{a}a"), format!("/users/{a}ob.{a}b")])
        .collect();
    assert!(routes(&paths).iter().all(|route| route == "/users/{userId}"));
}

#[test]
fn merged_endpoints_are_told() {
    let mut trie = Trie::new(100);
    for (endpoint, path) in (0..).zip(["/users/alice42/x", "/users/bob77/x"]) {
        let Inserted { node, grown, .. } = trie.insert(&Path::parse(path).unwrap()).unwrap();
        trie.set_endpoint(node, GET, endpoint);
        let merge = trie.settle(grown.unwrap(), &|_| 1);
        assert_eq!(merge.is_some(), endpoint == 1);
        if let Some(merge) = merge {
            assert_eq!(merge.merged, [(1, 0)]);
            let node = trie.find(&Path::parse("/users/carol/x").unwrap()).unwrap();
            assert_eq!(trie.route(node).0, "/users/{userId}/x");
            assert!(merge.nodes.contains(&node));
        }
    }
}

#[test]
fn a_full_trie_refuses_and_keeps_what_it_has() {
    let mut trie = Trie::new(3);
    assert!(trie.insert(&Path::parse("/a/b").unwrap()).is_some());
    assert!(trie.insert(&Path::parse("/c").unwrap()).is_none());
    assert!(trie.insert(&Path::parse("/a/b").unwrap()).is_some());
}

#[test]
fn a_restored_route_takes_in_new_names() {
    let mut trie = Trie::new(100);
    let path = Path::of_route("/users/{userId}/orders/{orderId}", &[Kind::Name, Kind::Integer]);
    let node = trie.restore(&path.unwrap()).unwrap();
    assert_eq!(trie.route(node).0, "/users/{userId}/orders/{orderId}");
    assert_eq!(trie.find(&Path::parse("/users/zoe/orders/9").unwrap()), Some(node));
    assert_eq!(trie.find(&Path::parse("/users/zoe/orders/last").unwrap()), None);
    let path = Path::of_route("/bills/{billId}.json", &[Kind::Name]).unwrap();
    let node = trie.restore(&path).unwrap();
    assert_eq!(trie.find(&Path::parse("/bills/zoe.json").unwrap()), Some(node));
    assert_eq!(trie.find(&Path::parse("/bills/zoe").unwrap()), None);
}
