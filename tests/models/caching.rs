//! Lookups in a cache while the sublist changes.

use std::sync::Arc;

use crate::check;
use crate::sublist::Sublist;

const SUBJECT: &[u8] = b"a.b";

/// What a worker has found, and under which stamp.
#[derive(Default)]
struct Cache(Option<(u64, usize)>);

impl Cache {
    fn lookup(&mut self, sublist: &Sublist) -> usize {
        let stamp = sublist.stamp(SUBJECT);
        match self.0 {
            Some((kept, found)) if kept == stamp => found,
            _ => {
                let found = sublist.count();
                self.0 = Some((stamp, found));
                found
            }
        }
    }
}

#[test]
fn no_cache_keeps_what_has_been_removed() {
    check(|| {
        let sublist = Arc::new(Sublist::new([SUBJECT, b"*.b"]));
        let writers = [SUBJECT, b"*.b"].map(|pattern| {
            let sublist = Arc::clone(&sublist);
            loom::thread::spawn(move || sublist.remove(pattern))
        });
        let mut cache = Cache::default();
        let found = [(); 2].map(|()| cache.lookup(&sublist));
        assert!(found[0] >= found[1], "one has come back: {found:?}");
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(cache.lookup(&sublist), 0);
    });
}
