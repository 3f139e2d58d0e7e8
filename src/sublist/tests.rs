//! The sublist: cases worth a name, and its fuzz body.

use crate::base::fuzzing;
use crate::sublist::epochs::{Epochs, Stamps};
use crate::sublist::fuzz::{Found, Sub, fuzz_sublist_ops, matched, take_looks};
use crate::sublist::{Entry, Sublist, UNLISTED};

fn list_of(subjects: &[&str]) -> (Sublist<Sub>, Vec<Sub>) {
    let mut list = Sublist::new();
    let numbered = (0..).zip(subjects);
    let subs: Vec<Sub> = numbered.map(|(id, s)| Sub::new(id, s.as_bytes(), None)).collect();
    for sub in &subs {
        assert!(list.insert(sub.clone()));
    }
    (list, subs)
}

#[test]
fn fuzz_sublist_ops_agree_with_a_list_of_patterns() {
    fuzzing::run("sublist", 400, fuzz_sublist_ops, |random, _| {
        let mut data = vec![0; random.usize(..5000)];
        random.fill(&mut data);
        data
    });
}

#[test]
fn published_wildcards_are_bytes() {
    let (list, _) = list_of(&["foo.*", ">", "foo.bar", "*"]);
    assert_eq!(matched(&list, b"foo.*").0, [0, 1].into());
    assert_eq!(matched(&list, b"foo.>").0, [0, 1].into());
    assert_eq!(matched(&list, b">").0, [1, 3].into());
    for subject in ["", ".", "foo.", ".foo", "foo..bar"] {
        assert_eq!(matched(&list, subject.as_bytes()), Found::default(), "{subject}");
    }
}

#[test]
fn groups_of_one_name_on_several_subjects_are_one() {
    let mut list = Sublist::new();
    let entries = [("a.b", "q"), ("a.*", "q"), ("a.>", "q"), ("a.b", "r"), ("a.b", "q")];
    for (id, (subject, queue)) in (0..).zip(entries) {
        list.insert(Sub::new(id, subject.as_bytes(), Some(queue.as_bytes())));
    }
    let (plain, groups) = matched(&list, b"a.b");
    assert!(plain.is_empty());
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[&b"q"[..]], [0, 1, 2, 4].into());
}

#[test]
fn many_on_one_subject_come_and_go() {
    for subject in [&b"one"[..], b"one.*"] {
        for queues in [0, 1, 20_000] {
            let mut list = Sublist::new();
            let queue = |id: u32| (queues > 0).then(|| (id % queues).to_le_bytes());
            let sub = |id| Sub::new(id, subject, queue(id).as_ref().map(|name| &name[..]));
            let subs: Vec<Sub> = (0..20_000).map(sub).collect();
            assert!(subs.iter().all(|sub| list.insert(sub.clone())));
            let (plain, groups) = matched(&list, if subject == b"one" { b"one" } else { b"one.x" });
            assert_eq!(plain.len(), if queues == 0 { subs.len() } else { 0 });
            assert_eq!(groups.len(), queues as usize);
            assert!(subs.iter().all(|sub| list.remove(sub)));
            list.assert_bare();
        }
    }
}

#[test]
fn depth_costs_no_stack_and_no_square() {
    let deep = vec!["a"; 200_000].join(".");
    let patterns = [format!("{deep}.*"), format!("{deep}.>"), deep.replace("a", "*"), deep.clone()];
    let (mut list, subs) = list_of(&patterns.each_ref().map(String::as_str));
    assert_eq!(matched(&list, format!("{deep}.a").as_bytes()).0, [0, 1].into());
    assert_eq!(matched(&list, deep.as_bytes()).0, [2, 3].into());
    assert!(subs.iter().all(|sub| list.remove(sub)));
    list.assert_bare();
}

#[test]
fn another_subscription_of_the_same_look_is_not_removed() {
    let (mut list, _subs) = list_of(&["a.b", "a.b", "a.*", "a.*"]);
    let stranger = Sub::new(9, b"a.b", None);
    for slot in [0, 1, UNLISTED - 1] {
        stranger.set_slot(slot);
        assert!(!list.remove(&stranger));
    }
    assert_eq!(list.stats().num_subscriptions, 4);
    assert_eq!(list.stats().num_removes, 0);
}

/// Reads of entries that one insertion or removal may need: it may move those of two small tables.
const LOOKS_MAX: u64 = 2_000;

#[test]
fn a_change_looks_at_few_others() {
    type Named = (String, Option<String>);
    let many: [fn(u32) -> Named; 5] = [
        |id| (format!("literal.{id}"), None),
        |id| (format!("pattern.{id}.*"), None),
        |id| (format!("branch.{}.x.{}", id / 2, ["*", ">"][id as usize % 2]), None),
        |id| ("queue".to_owned(), Some(id.to_string())),
        |_| ("same".to_owned(), None),
    ];
    for new in many {
        let mut list = Sublist::new();
        let sub = |id| {
            let (subject, queue) = new(id);
            Sub::new(id, subject.as_bytes(), queue.as_deref().map(str::as_bytes))
        };
        let subs: Vec<Sub> = (0..20_000).map(sub).collect();
        take_looks();
        for sub in &subs {
            assert!(list.insert(sub.clone()));
            let looks = take_looks();
            assert!(looks < LOOKS_MAX, "{looks} for {sub:?}");
        }
        for sub in &subs {
            assert!(list.remove(sub));
            let looks = take_looks();
            assert!(looks < LOOKS_MAX, "{looks} for {sub:?}");
        }
        list.assert_bare();
    }
}

/// Regression: for a request without responders, all entries that match its reply were copied.
#[test]
fn one_of_many_is_looked_for_among_few() {
    let mut list = Sublist::new();
    for id in 0..1000 {
        assert!(list.insert(Sub::new(id, b"same", (id % 2 == 0).then_some(b"q"))));
    }
    assert!(list.insert(Sub::new(1000, b"*", None)));
    let find = |looks_max: usize, wanted: u32| {
        let looks = std::cell::Cell::new(0);
        let found = list.find_plain(b"same", looks_max, |sub| {
            looks.set(looks.get() + 1);
            sub.0.id == wanted
        });
        assert!(looks.get() <= looks_max);
        found.map(|sub| sub.0.id)
    };
    assert_eq!(find(100, 2000), None);
    assert_eq!(find(5000, 999), Some(999));
    assert_eq!(find(5000, 1000), Some(1000));
    assert_eq!(find(5000, 998), None, "a member of a queue");
}

#[test]
fn a_change_outdates_what_it_may_concern() {
    let epochs = Epochs::new();
    let (orders, events) = (epochs.stamp(b"orders.new"), epochs.stamp(b"events"));
    epochs.bump(b"orders.>");
    assert_ne!(epochs.stamp(b"orders.new"), orders);
    assert_eq!(epochs.stamp(b"events"), events);
    for pattern in [&b"*"[..], b">", b"*.a", b"*.>"] {
        let (orders, events) = (epochs.stamp(b"orders.new"), epochs.stamp(b"events"));
        epochs.bump(pattern);
        assert_ne!(epochs.stamp(b"orders.new"), orders);
        assert_ne!(epochs.stamp(b"events"), events);
    }
    let starred = epochs.stamp(b"events");
    epochs.bump(b"*a");
    epochs.bump(b">>.a");
    assert_eq!(epochs.stamp(b"events"), starred);
}
