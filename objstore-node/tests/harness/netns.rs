//! Machines of a network of their own, on one kernel: a namespace each, on one bridge.

use std::process::Command;

/// Removed when dropped.
pub struct Networks {
    tag: u32,
    count: usize,
}

impl Networks {
    /// None where the kernel does not let us.
    pub fn of(count: usize) -> Option<Self> {
        let networks = Self { tag: std::process::id(), count };
        if !run("ip", &["netns", "add", &networks.name(0)]) {
            assert!(run("ip", &["-V"]) && run("nft", &["-v"]), "install iproute2 and nftables");
            return None;
        }
        let bridge = networks.bridge();
        must("ip", &["link", "add", &bridge, "type", "bridge"]);
        must("ip", &["addr", "add", &format!("{}/24", networks.host(254)), "dev", &bridge]);
        must("ip", &["link", "set", &bridge, "up"]);
        for n in 0..count {
            let (name, port) = (networks.name(n), format!("ov{}-{n}", networks.tag));
            if n > 0 {
                must("ip", &["netns", "add", &name]);
            }
            let peer = ["peer", "name", "eth0", "netns", &name];
            must("ip", &[&["link", "add", &port, "type", "veth"][..], &peer].concat());
            must("ip", &["link", "set", &port, "master", &bridge, "up"]);
            let addr = format!("{}/24", networks.addr(n));
            for line in [
                &["addr", "add", &addr, "dev", "eth0"][..],
                &["link", "set", "eth0", "up"],
                &["link", "set", "lo", "up"],
            ] {
                must("ip", &[&["-n", &name], line].concat());
            }
        }
        Some(networks)
    }

    fn name(&self, n: usize) -> String {
        format!("objstore-test-{}-{n}", self.tag)
    }

    fn bridge(&self) -> String {
        format!("ob{}", self.tag)
    }

    fn host(&self, n: usize) -> String {
        format!("10.213.{}.{n}", self.tag % 251)
    }

    /// Where a machine is reached, also from this one.
    pub fn addr(&self, n: usize) -> String {
        self.host(n + 1)
    }

    /// What starts a program there, in place of itself.
    pub fn wrapper(&self, n: usize) -> [String; 5] {
        ["ip", "netns", "exec", &self.name(n), "env"].map(str::to_owned)
    }

    /// Nothing gets through between this machine and the others, in either direction.
    pub fn cut(&self, n: usize) {
        let others: Vec<_> = (0..self.count).filter(|o| *o != n).map(|o| self.addr(o)).collect();
        let others = others.join(", ");
        let rules = format!(
            "table inet cut {{ chain in {{ type filter hook input priority 0; ip saddr {{ {others} }} drop; }}; \
             chain out {{ type filter hook output priority 0; ip daddr {{ {others} }} drop; }}; }}"
        );
        must("ip", &["netns", "exec", &self.name(n), "nft", &rules]);
    }

    /// Everything gets through again.
    pub fn heal(&self, n: usize) {
        must("ip", &["netns", "exec", &self.name(n), "nft", "delete table inet cut"]);
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for n in 0..self.count {
            let _ = run("ip", &["netns", "del", &self.name(n)]);
        }
        let _ = run("ip", &["link", "del", &self.bridge()]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

fn must(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}
