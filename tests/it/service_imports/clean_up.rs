//! The end of requests that are not answered.

use super::{CONF, client, message, request, start};
use crate::support::{Server, http};

for_both! {
    fn nobody_waits_for_the_answer_any_more(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\nSUB box.* 9\r\nSUB max 6\r\nUNSUB 6 1\r\n");
        for (reply, sid) in [("in", 8), ("box.1", 9)] {
            b.send(&request("local.st", reply));
            let asked = message(&mut a);
            a.send(&asked.answer("ok"));
            b.expect(&format!("MSG {reply} {sid} 2\r\nok\r\n"));
            b.send(&format!("UNSUB {sid}\r\nSUB {reply} {sid}\r\n"));
            b.fence();
            a.send(&asked.answer("late"));
            a.fence();
            b.fence();
        }
        // The one who waits may ask for one answer only.
        b.send(&request("local.one", "max"));
        let asked = message(&mut a);
        a.send(&asked.answer("ok"));
        b.expect("MSG max 6 2\r\nok\r\n");
        b.fence();
    }

    fn others_may_still_wait(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB box.1 9\r\n");
        let mut other = client(&server, "b", "SUB box.* q 7\r\n");
        b.send(&request("local.st", "box.1"));
        let asked = message(&mut a);
        b.send("UNSUB 9\r\n");
        b.fence();
        a.send(&asked.answer("ok"));
        other.expect("MSG box.1 7 2\r\nok\r\n");
        drop(b);
        a.send(&asked.answer("ok"));
        other.expect("MSG box.1 7 2\r\nok\r\n");
    }

    /// Interest in the reply may come after the request.
    fn a_subscription_may_come_late(which) {
        let server = start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "");
        b.send(&request("local.one", "in"));
        let asked = message(&mut a);
        b.send("SUB in 8\r\n");
        b.fence();
        a.send(&asked.answer("ok"));
        b.expect("MSG in 8 2\r\nok\r\n");
    }

    fn an_answer_may_come_too_late(which) {
        let server = Server::with().conf(CONF).monitored().start(which);
        let mut a = client(&server, "a", "SUB req.* 1\r\n");
        let mut b = client(&server, "b", "SUB in 8\r\n");
        b.send(&request("local.fast", "in"));
        let asked = message(&mut a);
        http::json_until(&server, "/accountz?acc=A", |page| {
            page["account_detail"]["responses"].is_null()
        });
        a.send(&asked.answer("late"));
        a.fence();
        b.fence();
    }
}
