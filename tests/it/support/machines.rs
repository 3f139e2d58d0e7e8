//! Two machines that only the kernel knows: network namespaces with a cable between them.

use std::process::Command;

/// The cable is unplugged and the namespaces are gone when this is dropped.
pub(crate) struct Machines {
    names: [String; 2],
}

impl Machines {
    /// None if the test may not make any; it prints that.
    pub(crate) fn new() -> Option<Machines> {
        let pid = std::process::id();
        let machines = Machines { names: ["a", "b"].map(|side| format!("dialtone-{pid}-{side}")) };
        let [a, b] = &machines.names;
        let made = ip(&["netns", "add", a])
            && ip(&["netns", "add", b])
            && ip(&[
                "link", "add", "eth0", "netns", a, "type", "veth", "peer", "name", "eth0", "netns",
                b,
            ]);
        if !made {
            eprintln!("skipped: no network namespaces here");
            return None;
        }
        for (side, name) in machines.names.iter().enumerate() {
            let address = format!("{}/24", machines.address(side));
            assert!(ip(&["-n", name, "link", "set", "lo", "up"]));
            assert!(ip(&["-n", name, "addr", "add", &address, "dev", "eth0"]));
            assert!(ip(&["-n", name, "link", "set", "eth0", "up"]));
        }
        Some(machines)
    }

    /// The namespace of one of the two.
    pub(crate) fn name(&self, side: usize) -> &str {
        &self.names[side]
    }

    /// Its address for the other one.
    pub(crate) fn address(&self, side: usize) -> String {
        format!("10.99.9.{}", side + 1)
    }

    /// From now on nothing arrives, without any notice.
    pub(crate) fn unplug(&self) {
        assert!(ip(&["-n", &self.names[1], "link", "set", "eth0", "down"]));
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).output().is_ok_and(|output| output.status.success())
}
