use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    super::{Action, Id, Model, Snapshot, Tab, rows::rows},
    call, endpoint, key, on, screen, shop,
};

fn press(model: &mut Model, snapshot: &Snapshot, keys: &[KeyCode]) -> Action {
    keys.iter().fold(Action::None, |_, &code| {
        model.update(KeyEvent::new(code, KeyModifiers::NONE), snapshot)
    })
}

fn typed(model: &mut Model, snapshot: &Snapshot, text: &str) {
    for character in text.chars() {
        press(model, snapshot, &[KeyCode::Char(character)]);
    }
}

/// Routes in the order of the list, with a mark at the chosen one.
fn routes(model: &Model, snapshot: &Snapshot) -> Vec<String> {
    let items = rows(snapshot, model.tab, model.list());
    let chosen = model.list().find(&items);
    items
        .iter()
        .enumerate()
        .map(|(position, item)| {
            let name = match item.id() {
                Id::Endpoint(key) => format!("{} {}", key.method, key.route),
                Id::Call(id) => id.to_string(),
                Id::Finding(id) => id,
            };
            if position == chosen { format!(">{name}") } else { name }
        })
        .collect()
}

#[test]
fn quitting_works_everywhere() {
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let mut model = on(Tab::Endpoints, (80, 24));
    assert_eq!(press(&mut model, &shop(), &[KeyCode::Char('q')]), Action::Quit);
    assert_eq!(model.update(control_c, &shop()), Action::Quit);
    model.editing = true;
    assert_eq!(press(&mut model, &shop(), &[KeyCode::Char('q')]), Action::Draw);
    assert_eq!(model.update(control_c, &shop()), Action::Quit);
    let mut release = control_c;
    release.kind = KeyEventKind::Release;
    assert_eq!(model.update(release, &shop()), Action::None);
}

#[test]
fn tabs_are_chosen_by_number_and_in_turn() {
    let mut model = on(Tab::Endpoints, (80, 24));
    let mut seen = Vec::new();
    for code in ['3', '1', '4', '2'].map(KeyCode::Char) {
        press(&mut model, &shop(), &[code]);
        seen.push(model.tab);
    }
    assert_eq!(seen, [Tab::Findings, Tab::Endpoints, Tab::Capture, Tab::Calls]);
    press(&mut model, &shop(), &[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(model.tab, Tab::Endpoints);
    press(&mut model, &shop(), &[KeyCode::BackTab]);
    assert_eq!(model.tab, Tab::Capture);
}

#[test]
fn movement_stays_within_the_list() {
    let (mut model, shop) = (on(Tab::Calls, (80, 24)), shop());
    let position = |model: &Model| model.list().find(&rows(&shop, model.tab, model.list()));
    for (code, expected) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::Char('j'), 2),
        (KeyCode::Char('k'), 1),
        (KeyCode::PageDown, 3),
        (KeyCode::Down, 3),
        (KeyCode::PageUp, 0),
        (KeyCode::End, 3),
        (KeyCode::Home, 0),
    ] {
        press(&mut model, &shop, &[code]);
        assert_eq!(position(&model), expected, "after {code:?}");
    }
}

#[test]
fn the_chosen_row_is_followed_and_the_first_is_not() {
    let mut later = shop();
    later.calls.insert(0, call(5, "GET", "/orders/78", Some(200)));
    let mut model = on(Tab::Calls, (80, 24));
    assert_eq!(routes(&model, &later), [">5", "4", "3", "2", "1"]);
    press(&mut model, &shop(), &[KeyCode::Down]);
    assert_eq!(routes(&model, &shop()), ["4", ">3", "2", "1"]);
    assert_eq!(routes(&model, &later), ["5", "4", ">3", "2", "1"]);
    // Its place is kept when it is gone.
    later.calls.remove(2);
    assert_eq!(routes(&model, &later), ["5", ">4", "2", "1"]);
    press(&mut model, &later, &[KeyCode::Home]);
    assert_eq!(routes(&model, &later), [">5", "4", "2", "1"]);
}

#[test]
fn sorting_goes_through_the_columns_and_turns_around() {
    let (mut model, shop) = (on(Tab::Endpoints, (120, 40)), shop());
    let first = |model: &Model| routes(model, &shop).remove(0);
    let mut heads = Vec::new();
    for _ in 0..11 {
        let text = screen(&model, &shop);
        let head = text.lines().nth(3).unwrap();
        let marked = head.split_whitespace().find(|head| head.ends_with(['▼', '▲'])).unwrap();
        heads.push(format!("{marked} {}", first(&model)));
        press(&mut model, &shop, &[KeyCode::Char('s')]);
    }
    let most = ">GET /orders/{orderId}";
    let failing = ">DELETE /商品/{商品Id}/レビュー/{id}";
    assert_eq!(
        heads,
        [
            format!("RATE▼ {most}"),
            format!("CALLS▼ {most}"),
            format!("ERR▼ {failing}"),
            format!("P50▼ {most}"),
            format!("P95▼ {most}"),
            format!("P99▼ {most}"),
            format!("IN▼ {most}"),
            format!("OUT▼ {most}"),
            format!("INC▼ {most}"),
            "SEEN▼ >DELETE /商品/{商品Id}/レビュー/{id}".to_owned(),
            "SERVICE▲ >POST /orders".to_owned(),
        ]
    );
    assert_eq!(model.list().order, 0);
    press(&mut model, &shop, &[KeyCode::Char('S')]);
    assert_eq!(first(&model), failing);
    assert!(screen(&model, &shop).contains("RATE▲"));
}

#[test]
fn the_filter_narrows_with_every_character() {
    let (mut model, shop) = (on(Tab::Endpoints, (80, 24)), shop());
    press(&mut model, &shop, &[KeyCode::Char('/')]);
    typed(&mut model, &shop, "ORDERS");
    assert_eq!(routes(&model, &shop), [">GET /orders/{orderId}", "POST /orders"]);
    assert!(screen(&model, &shop).contains("filter: ORDERS"));
    typed(&mut model, &shop, " post");
    assert_eq!(routes(&model, &shop), [">POST /orders"]);
    typed(&mut model, &shop, "x");
    assert!(screen(&model, &shop).contains("No row has all the words of the filter."));
    press(&mut model, &shop, &[KeyCode::Backspace, KeyCode::Enter]);
    assert!(!model.editing);
    assert!(screen(&model, &shop).contains("filter: ORDERS post"));
    press(&mut model, &shop, &[KeyCode::Esc]);
    assert_eq!(routes(&model, &shop).len(), 4);
    // While it is typed, Esc drops it and ends typing.
    press(&mut model, &shop, &[KeyCode::Char('/'), KeyCode::Char('z'), KeyCode::Esc]);
    assert_eq!((model.editing, model.list().filter.as_str()), (false, ""));
}

#[test]
fn the_filter_is_bounded() {
    let (mut model, shop) = (on(Tab::Endpoints, (80, 24)), shop());
    press(&mut model, &shop, &[KeyCode::Char('/')]);
    typed(&mut model, &shop, &"é".repeat(1000));
    assert_eq!(model.list().filter.chars().count(), 128);
    screen(&model, &shop);
    model.update(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL), &shop);
    assert_eq!(model.list().filter, "");
}

#[test]
fn each_tab_keeps_its_own_filter_and_choice() {
    let (mut model, shop) = (on(Tab::Endpoints, (80, 24)), shop());
    press(&mut model, &shop, &[KeyCode::Char('/')]);
    typed(&mut model, &shop, "post");
    press(&mut model, &shop, &[KeyCode::Enter, KeyCode::Char('2'), KeyCode::Down]);
    assert_eq!(routes(&model, &shop), ["4", ">3", "2", "1"]);
    press(&mut model, &shop, &[KeyCode::Char('1')]);
    assert_eq!(routes(&model, &shop), [">POST /orders"]);
}

#[test]
fn enter_opens_the_chosen_row_and_escape_returns_to_it() {
    let (mut model, shop) = (on(Tab::Findings, (80, 24)), shop());
    press(&mut model, &shop, &[KeyCode::Down, KeyCode::Enter]);
    assert_eq!(model.detail, Some(Id::Finding("f2".into())));
    assert!(screen(&model, &shop).contains("How to fix it"));
    press(&mut model, &shop, &[KeyCode::Esc]);
    assert_eq!(model.detail, None);
    assert_eq!(routes(&model, &shop), ["f1", ">f2", "f3"]);
}

#[test]
fn enter_on_an_empty_list_does_nothing() {
    let mut model = on(Tab::Findings, (80, 24));
    let empty = Snapshot::default();
    assert_eq!(press(&mut model, &empty, &[KeyCode::Enter]), Action::None);
    press(&mut model, &empty, &[KeyCode::Down, KeyCode::End, KeyCode::PageUp]);
    assert_eq!(model.detail, None);
}

#[test]
fn an_opened_endpoint_stays_open_when_rows_change_places() {
    let (mut model, mut shop) = (on(Tab::Endpoints, (80, 24)), shop());
    press(&mut model, &shop, &[KeyCode::Enter]);
    let busy = key("new:1", "GET", "/busy");
    shop.endpoints.push(endpoint(busy, 1, 1e6, &[(200, 1)]));
    assert!(screen(&model, &shop).contains("GET /orders/{orderId}"));
    press(&mut model, &shop, &[KeyCode::Esc]);
    assert_eq!(routes(&model, &shop)[..2], ["GET /busy", ">GET /orders/{orderId}"]);
}

#[test]
fn scrolling_stops_at_the_last_line_and_returns_at_once() {
    let (mut model, shop) = (on(Tab::Endpoints, (80, 12)), shop());
    press(&mut model, &shop, &[KeyCode::Enter]);
    press(&mut model, &shop, &[KeyCode::Down; 200]);
    let end = screen(&model, &shop);
    assert!(end.contains("text/html"), "{end}");
    press(&mut model, &shop, &[KeyCode::Up]);
    assert_ne!(screen(&model, &shop), end);
    press(&mut model, &shop, &[KeyCode::End]);
    assert_eq!(screen(&model, &shop), end);
    press(&mut model, &shop, &[KeyCode::Home]);
    assert_eq!(model.scroll, 0);
}

#[test]
fn help_is_left_the_way_it_was_entered() {
    let (mut model, shop) = (on(Tab::Calls, (80, 24)), shop());
    for leave in [KeyCode::Char('?'), KeyCode::Esc, KeyCode::Backspace] {
        press(&mut model, &shop, &[KeyCode::Char('?')]);
        assert!(model.help);
        press(&mut model, &shop, &[leave]);
        assert!(!model.help, "after {leave:?}");
    }
    press(&mut model, &shop, &[KeyCode::Char('p')]);
    assert!(model.paused);
}
