use std::{env, fs, path::Path};

use ratatui::{
    Terminal,
    backend::TestBackend,
    style::{Color, Modifier},
};

use super::{
    super::{Id, Model, Snapshot, Tab, Theme, draw},
    call, endpoint, finding, key, on, quiet, screen, shop,
};
use crate::{detect::Severity, export::tui::snapshot::EndpointFacts, grpc::Code};

const SIZES: [(u16, u16); 2] = [(80, 24), (120, 40)];

/// Compares a screen of each size with the one that is kept; writes it instead
/// when `UPDATE_FIXTURES` is set.
fn golden(name: &str, snapshot: &Snapshot, model: impl Fn((u16, u16)) -> Model) {
    for (width, height) in SIZES {
        let text = screen(&model((width, height)), snapshot);
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/export/tui/tests/golden")
            .join(format!("{name}-{width}x{height}.txt"));
        if env::var_os("UPDATE_FIXTURES").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(text, kept, "screen differs from {}", path.display());
    }
}

#[test]
fn every_view_looks_as_it_is_kept() {
    for (name, tab) in [
        ("endpoints", Tab::Endpoints),
        ("calls", Tab::Calls),
        ("findings", Tab::Findings),
        ("capture", Tab::Capture),
    ] {
        golden(name, &shop(), |size| on(tab, size));
    }
}

#[test]
fn an_empty_run_says_what_to_check() {
    golden("endpoints-empty", &quiet(), |size| on(Tab::Endpoints, size));
    golden("capture-empty", &quiet(), |size| on(Tab::Capture, size));
}

#[test]
fn details_and_help_look_as_they_are_kept() {
    golden("endpoint-detail", &shop(), |size| Model {
        detail: Some(Id::Endpoint(key("orders:8080", "POST", "/orders"))),
        ..on(Tab::Endpoints, size)
    });
    golden("call-detail", &shop(), |size| Model {
        detail: Some(Id::Call(3)),
        ..on(Tab::Calls, size)
    });
    golden("call-detail-tls", &shop(), |size| Model {
        detail: Some(Id::Call(2)),
        ..on(Tab::Calls, size)
    });
    golden("finding-detail", &shop(), |size| Model {
        detail: Some(Id::Finding("f1".into())),
        paused: true,
        ..on(Tab::Findings, size)
    });
    golden("help", &shop(), |size| Model { help: true, ..on(Tab::Calls, size) });
}

#[test]
fn codes_of_grpc_are_shown_of_an_endpoint_that_has_them() {
    let page = |grpc_codes: &[(Code, u64)]| {
        let mut row = endpoint(key("orders:8080", "POST", "/a.B/C"), 9, 1.0, &[(200, 9)]);
        let facts = EndpointFacts { grpc_codes: grpc_codes.to_vec(), ..(*row.facts).clone() };
        row.facts = facts.into();
        let id = Id::Endpoint(row.facts.key.clone());
        let model = Model { detail: Some(id), ..on(Tab::Endpoints, (120, 60)) };
        screen(&model, &Snapshot { endpoints: vec![row], ..shop() })
    };
    let text = page(&[(Code::new(0), 6), (Code::new(14), 3)]);
    for shown in ["Codes of gRPC", "UNAVAILABLE", "3 (33"] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
    assert!(!page(&[]).contains("gRPC"));
}

#[test]
fn no_findings_is_not_said_to_be_no_weakness() {
    let snapshot = Snapshot { findings: vec![], ..shop() };
    let text = screen(&on(Tab::Findings, (80, 24)), &snapshot);
    assert!(text.contains("That none was found does not mean"), "{text}");
}

#[test]
fn what_is_hidden_is_counted() {
    let snapshot = Snapshot { endpoints_hidden: 77, ..shop() };
    let text = screen(&on(Tab::Endpoints, (80, 24)), &snapshot);
    assert!(text.contains("77 more are known and not shown here"), "{text}");
    assert!(text.contains("[1 Endpoints 81]"), "{text}");
}

#[test]
fn hostile_text_reaches_no_cell() {
    let evil = "/\x1b]0;owned\x07/\u{202e}gpj.exe/\r\n/\u{9b}2J/\u{200d}e\u{301}\u{301}/😀日本";
    let mut snapshot = shop();
    snapshot.run.scope = evil.into();
    snapshot.endpoints = vec![endpoint(key(evil, evil, evil), 5, 1.0, &[(200, 5)])];
    snapshot.calls = vec![call(1, evil, evil, Some(200))];
    snapshot.findings = vec![finding(evil, Severity::High, evil, 1)];
    let details = [
        None,
        Some(Id::Endpoint(key(evil, evil, evil))),
        Some(Id::Call(1)),
        Some(Id::Finding(evil.into())),
    ];
    for tab in Tab::ALL {
        for detail in &details {
            for width in [80, 120, 200] {
                let mut model = Model { detail: detail.clone(), ..on(tab, (width, 40)) };
                model.lists.iter_mut().for_each(|list| list.filter = "e".into());
                let text = screen(&model, &snapshot);
                let bad = text.chars().find(|&character| {
                    character != '\n' && character.is_control()
                        || matches!(character, '\u{202e}' | '\u{200d}')
                });
                assert_eq!(bad, None, "{text}");
            }
        }
    }
    let text = screen(&on(Tab::Endpoints, (200, 24)), &snapshot);
    assert!(text.contains("\\u{1b}]0;owned\\u{7}"), "{text}");
}

#[test]
fn no_terminal_is_too_small() {
    for snapshot in [shop(), quiet()] {
        for tab in Tab::ALL {
            for detail in [None, Some(Id::Finding("f1".into()))] {
                for (width, height) in (1..40).flat_map(|width| [1, 2, 3, 5, 9].map(|h| (width, h)))
                {
                    let mut model = Model { detail: detail.clone(), ..on(tab, (width, height)) };
                    model.editing = width % 2 == 0;
                    model.lists[0].filter = "日本日本日本日本日本日本日本".into();
                    model.scroll = 1000;
                    // Neither panics nor draws outside.
                    screen(&model, &snapshot);
                }
            }
        }
    }
}

#[test]
fn a_long_list_is_shown_around_the_chosen_row() {
    let mut snapshot = shop();
    snapshot.endpoints = (0..100_u32)
        .map(|number| {
            let key = key("s", "GET", &format!("/row/{number:03}"));
            endpoint(key, 1000 - u64::from(number), 0.0, &[(200, 1)])
        })
        .collect();
    let mut model = on(Tab::Endpoints, (80, 24));
    model.lists[0].selected = Some(Id::Endpoint(key("s", "GET", "/row/050")));
    let text = screen(&model, &snapshot);
    assert!(text.contains("/row/050") && text.contains("/row/042"), "{text}");
    assert!(!text.contains("/row/000") && !text.contains("/row/070"), "{text}");
    model.lists[0].selected = Some(Id::Endpoint(key("s", "GET", "/row/099")));
    let last = screen(&model, &snapshot);
    assert_eq!(last.lines().nth(22).map(|line| line.contains("/row/099")), Some(true), "{last}");
}

#[test]
fn colors_follow_status_and_no_color_uses_none() {
    for (theme, colored) in [(Theme::COLOR, true), (Theme::PLAIN, false)] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &on(Tab::Calls, (80, 24)), &shop(), theme)).unwrap();
        let buffer = terminal.backend().buffer();
        let used = buffer.content.iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(used, colored);
        let row = |y: usize| buffer.content.iter().skip(y * 80).take(80);
        // The chosen row is told apart without colours; the one below answered 500.
        assert!(row(4).all(|cell| cell.modifier.contains(Modifier::REVERSED)));
        assert_eq!(row(5).any(|cell| cell.fg == Color::Red), colored);
    }
}

#[test]
fn the_state_of_the_view_is_in_the_title() {
    let mut model = on(Tab::Endpoints, (80, 24));
    let title = |model: &Model| screen(model, &shop()).lines().next().map(str::to_owned);
    assert!(title(&model).is_some_and(|title| title.ends_with(" 00:12:34")));
    model.ended = true;
    assert!(title(&model).is_some_and(|title| title.ends_with(" 00:12:34 ENDED")));
    model.paused = true;
    assert!(title(&model).is_some_and(|title| title.ends_with(" 00:12:34 PAUSED")));
}

#[test]
fn a_row_that_is_gone_is_said_to_be_gone() {
    let model = Model { detail: Some(Id::Call(99)), ..on(Tab::Calls, (80, 24)) };
    assert!(screen(&model, &shop()).contains("no longer among the latest"));
}
