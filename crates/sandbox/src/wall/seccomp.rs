//! Compiles the table of system calls to a filter: ranges of numbers as a balanced tree, arguments checked at its leaves.

use std::io;

use super::syscalls;

/// Instructions that the filter may have. The kernel runs it once for each number at install time to learn which are
/// always allowed, and at each call of those with arguments.
pub(super) const INSTRUCTIONS_MAX: usize = 240;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Goes on to the kernel.
    Allow,
    /// EPERM.
    Refuse,
    /// ENOSYS.
    Unknown,
    /// `socket`: UNIX; INET and INET6 streams and datagrams; NETLINK's ROUTE, which lists interfaces.
    Socket,
    /// `socketpair`: UNIX.
    SocketPair,
    /// `clone` and `unshare`: no new namespace.
    NoNamespaces,
    /// `ioctl`: nothing that types into a terminal.
    Ioctl,
    /// `personality`: only asking, and Linux's own.
    Personality,
    /// `mknod`: pipes and files, no device. The mode is this argument.
    NoDevice {
        /// Counted from 0.
        argument: u32,
    },
}

const NAMESPACES: u32 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP)
    .cast_unsigned();
/// Character and block devices both have this bit of the mode, pipes, sockets and files do not.
const DEVICE_BIT: u32 = libc::S_IFCHR;
/// x32 calls have this bit in their number.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;
const NETLINK_ROUTE: u32 = 0;
const SOCKET_TYPE_MASK: u32 = 0xf;
const PERSONALITY_ASK: u32 = u32::MAX;

/// Where a jump goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Next,
    Label(usize),
    Rule(Rule),
    Errno(i32),
    Kill,
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    LoadData(u32),
    And(u32),
    Jump { test: u32, value: u32, yes: Target, no: Target },
    Return(u32),
    Label(usize),
}

/// The filter for this processor. `counted`: a control group counts the memory of files without a name; without one there are
/// none.
pub(super) fn filter(counted: bool) -> io::Result<Vec<libc::sock_filter>> {
    let mut assembly = Assembly::default();
    assembly.load_data(4);
    assembly.jump(libc::BPF_JEQ, syscalls::AUDIT_ARCH, Target::Next, Target::Kill);
    assembly.load_data(0);
    #[cfg(target_arch = "x86_64")]
    assembly.jump(libc::BPF_JGE, X32_BIT, Target::Kill, Target::Next);
    let mut rules = syscalls::rules();
    rules.retain(|(number, _)| counted || !syscalls::UNCOUNTED.contains(number));
    assembly.tree(&segments(rules));
    assembly.assemble()
}

/// Ranges of numbers with the same rule: each entry is the first number of one, the first entry is 0.
fn segments(mut rules: Vec<(libc::c_long, Rule)>) -> Vec<(u32, Rule)> {
    rules.sort_by_key(|(number, _)| *number);
    let mut segments = vec![(0, Rule::Unknown)];
    let mut next = 0;
    for (number, rule) in rules {
        let number = u32::try_from(number).expect("system calls have small numbers");
        if number > next {
            push(&mut segments, next, Rule::Unknown);
        }
        push(&mut segments, number, rule);
        next = number + 1;
    }
    push(&mut segments, next, Rule::Unknown);
    segments
}

fn push(segments: &mut Vec<(u32, Rule)>, from: u32, rule: Rule) {
    match segments.last_mut() {
        Some((start, last)) if *start == from => *last = rule,
        Some((_, last)) if *last == rule => {}
        _ => segments.push((from, rule)),
    }
}

#[derive(Default)]
struct Assembly {
    instructions: Vec<Instruction>,
    labels: usize,
    /// Rules that need code of their own, in the order in which they were first named.
    checks: Vec<Rule>,
    rules: Vec<(Rule, usize)>,
    errnos: Vec<(i32, usize)>,
    kill: Option<usize>,
}

impl Assembly {
    fn load_data(&mut self, offset: u32) {
        self.instructions.push(Instruction::LoadData(offset));
    }

    /// The low half of an argument: all that is checked here are ints.
    fn load_argument(&mut self, argument: u32) {
        self.load_data(16 + 8 * argument);
    }

    fn jump(&mut self, test: u32, value: u32, yes: Target, no: Target) {
        let (yes, no) = (self.resolve(yes), self.resolve(no));
        self.instructions.push(Instruction::Jump { test, value, yes, no });
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels
    }

    /// Turns rules and errors into labels of shared code that `assemble` writes at the end.
    fn resolve(&mut self, target: Target) -> Target {
        let label = match target {
            Target::Next | Target::Label(_) => return target,
            Target::Rule(Rule::Refuse) => return self.resolve(Target::Errno(libc::EPERM)),
            Target::Rule(Rule::Unknown) => return self.resolve(Target::Errno(libc::ENOSYS)),
            Target::Rule(rule) => match self.rules.iter().find(|(known, _)| *known == rule) {
                Some((_, label)) => *label,
                None => {
                    let label = self.label();
                    self.rules.push((rule, label));
                    self.checks.push(rule);
                    label
                }
            },
            Target::Errno(errno) => match self.errnos.iter().find(|(known, _)| *known == errno) {
                Some((_, label)) => *label,
                None => {
                    let label = self.label();
                    self.errnos.push((errno, label));
                    label
                }
            },
            Target::Kill => match self.kill {
                Some(label) => label,
                None => {
                    let label = self.label();
                    self.kill = Some(label);
                    label
                }
            },
        };
        Target::Label(label)
    }

    /// Finds the segment of the number in the accumulator.
    fn tree(&mut self, segments: &[(u32, Rule)]) {
        let (low, high) = segments.split_at(segments.len() / 2);
        let side = |assembly: &mut Self, side: &[(u32, Rule)]| match side {
            [(_, rule)] => Target::Rule(*rule),
            _ => Target::Label(assembly.label()),
        };
        let (below, above) = (side(self, low), side(self, high));
        let Some((pivot, _)) = high.first() else { return };
        self.jump(libc::BPF_JGE, *pivot, above, below);
        for (target, part) in [(below, low), (above, high)] {
            if let Target::Label(label) = target {
                self.instructions.push(Instruction::Label(label));
                self.tree(part);
            }
        }
    }

    fn assemble(mut self) -> io::Result<Vec<libc::sock_filter>> {
        let mut done = 0;
        while let Some(rule) = self.checks.get(done).copied() {
            done += 1;
            if rule == Rule::Allow {
                continue;
            }
            let label = self.rules.iter().find(|(known, _)| *known == rule).map_or(0, |(_, label)| *label);
            self.instructions.push(Instruction::Label(label));
            self.check(rule);
        }
        let returns = (self
            .rules
            .iter()
            .filter(|(rule, _)| *rule == Rule::Allow)
            .map(|(_, label)| (*label, libc::SECCOMP_RET_ALLOW)))
        .chain(self.errnos.iter().map(|(errno, label)| (*label, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())))
        .chain(self.kill.map(|label| (label, libc::SECCOMP_RET_KILL_PROCESS)));
        for (label, value) in returns.collect::<Vec<_>>() {
            self.instructions.push(Instruction::Label(label));
            self.instructions.push(Instruction::Return(value));
        }
        encode(&self.instructions)
    }

    fn check(&mut self, rule: Rule) {
        let allow = Target::Rule(Rule::Allow);
        let refuse = Target::Rule(Rule::Refuse);
        match rule {
            Rule::Allow | Rule::Refuse | Rule::Unknown => {}
            Rule::Socket => self.check_socket(),
            Rule::SocketPair => {
                self.load_argument(0);
                self.jump(libc::BPF_JEQ, libc::AF_UNIX.cast_unsigned(), allow, Target::Errno(libc::EAFNOSUPPORT));
            }
            Rule::NoNamespaces => {
                self.load_argument(0);
                self.jump(libc::BPF_JSET, NAMESPACES, refuse, allow);
            }
            Rule::Ioctl => {
                self.load_argument(1);
                self.jump(libc::BPF_JEQ, libc::TIOCSTI as u32, refuse, Target::Next);
                self.jump(libc::BPF_JEQ, libc::TIOCLINUX as u32, refuse, allow);
            }
            Rule::Personality => {
                self.load_argument(0);
                self.jump(libc::BPF_JEQ, 0, allow, Target::Next);
                self.jump(libc::BPF_JEQ, PERSONALITY_ASK, allow, refuse);
            }
            Rule::NoDevice { argument } => {
                self.load_argument(argument);
                self.jump(libc::BPF_JSET, DEVICE_BIT, refuse, allow);
            }
        }
    }

    fn check_socket(&mut self) {
        let allow = Target::Rule(Rule::Allow);
        let (internet, netlink, protocol) =
            (Target::Label(self.label()), Target::Label(self.label()), Target::Label(self.label()));
        self.load_argument(0);
        self.jump(libc::BPF_JEQ, libc::AF_UNIX.cast_unsigned(), allow, Target::Next);
        self.jump(libc::BPF_JEQ, libc::AF_INET.cast_unsigned(), internet, Target::Next);
        self.jump(libc::BPF_JEQ, libc::AF_INET6.cast_unsigned(), internet, Target::Next);
        self.jump(libc::BPF_JEQ, libc::AF_NETLINK.cast_unsigned(), netlink, Target::Errno(libc::EAFNOSUPPORT));
        self.place(netlink);
        self.load_argument(2);
        self.jump(libc::BPF_JEQ, NETLINK_ROUTE, allow, Target::Errno(libc::EPROTONOSUPPORT));
        self.place(internet);
        self.load_argument(1);
        self.instructions.push(Instruction::And(SOCKET_TYPE_MASK));
        self.jump(libc::BPF_JEQ, libc::SOCK_STREAM.cast_unsigned(), protocol, Target::Next);
        self.jump(libc::BPF_JEQ, libc::SOCK_DGRAM.cast_unsigned(), protocol, Target::Rule(Rule::Refuse));
        self.place(protocol);
        self.load_argument(2);
        self.jump(libc::BPF_JEQ, 0, allow, Target::Next);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_TCP.cast_unsigned(), allow, Target::Next);
        self.jump(libc::BPF_JEQ, libc::IPPROTO_UDP.cast_unsigned(), allow, Target::Errno(libc::EPROTONOSUPPORT));
    }

    fn place(&mut self, target: Target) {
        if let Target::Label(label) = target {
            self.instructions.push(Instruction::Label(label));
        }
    }
}

/// Replaces labels by distances.
fn encode(instructions: &[Instruction]) -> io::Result<Vec<libc::sock_filter>> {
    let mut places = Vec::new();
    let mut at = 0;
    for instruction in instructions {
        match instruction {
            Instruction::Label(label) => places.push((*label, at)),
            _ => at += 1,
        }
    }
    let mut program: Vec<libc::sock_filter> = Vec::with_capacity(at);
    for instruction in instructions {
        let next = program.len() + 1;
        let distance = |target: Target| -> io::Result<u8> {
            let Target::Label(label) = target else { return Ok(0) };
            let place = places.iter().find(|(known, _)| *known == label).map(|(_, place)| *place);
            place
                .and_then(|place| place.checked_sub(next))
                .and_then(|distance| u8::try_from(distance).ok())
                .ok_or_else(|| io::Error::other("the system call filter jumps too far"))
        };
        let (code, jt, jf, k) = match *instruction {
            Instruction::Label(_) => continue,
            Instruction::LoadData(offset) => (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset),
            Instruction::And(mask) => (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask),
            Instruction::Return(value) => (libc::BPF_RET | libc::BPF_K, 0, 0, value),
            Instruction::Jump { test, value, yes, no } => {
                (libc::BPF_JMP | test | libc::BPF_K, distance(yes)?, distance(no)?, value)
            }
        };
        program.push(libc::sock_filter { code: code as u16, jt, jf, k });
    }
    if program.len() > INSTRUCTIONS_MAX {
        return Err(io::Error::other("the system call filter is too long"));
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does: on the data of one call.
    fn run(program: &[libc::sock_filter], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number, arch, 0, 0].map(u32::to_le_bytes).concat();
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let instruction = program[at];
            let code = u32::from(instruction.code);
            at += 1;
            let jump = |holds: bool| usize::from(if holds { instruction.jt } else { instruction.jf });
            match (code & 0x07, code & 0xf0) {
                (libc::BPF_LD, _) => {
                    let offset = instruction.k as usize;
                    accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().expect("four bytes"));
                }
                (libc::BPF_ALU, libc::BPF_AND) => accumulator &= instruction.k,
                (libc::BPF_RET, _) => return instruction.k,
                (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(accumulator == instruction.k),
                (libc::BPF_JMP, libc::BPF_JGE) => at += jump(accumulator >= instruction.k),
                (libc::BPF_JMP, libc::BPF_JSET) => at += jump(accumulator & instruction.k != 0),
                other => panic!("instruction {other:?}"),
            }
        }
    }

    #[test]
    fn every_number_gets_the_rule_of_the_table() {
        let program = filter(true).expect("the filter compiles");
        let rules = syscalls::rules();
        for number in 0..600 {
            let named: Vec<_> = rules.iter().filter(|(known, _)| *known == number).map(|(_, rule)| *rule).collect();
            assert!(named.len() <= 1, "system call {number} stands in several lists");
            let answer = run(&program, syscalls::AUDIT_ARCH, number as u32, [0; 6]);
            let expected = match named.first() {
                None | Some(Rule::Unknown) => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
                Some(Rule::Refuse) => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
                Some(Rule::Socket | Rule::SocketPair) => libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT as u32,
                Some(_) => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(answer, expected, "system call {number}");
        }
    }

    #[test]
    fn the_filter_is_compact() {
        let length = filter(true).expect("the filter compiles").len();
        assert!(length < 200, "{length} instructions");
    }

    #[test]
    fn foreign_calling_conventions_are_killed() {
        let program = filter(true).expect("the filter compiles");
        const I386: u32 = 0x4000_0003;
        assert_eq!(run(&program, I386, 20, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(run(&program, syscalls::AUDIT_ARCH, X32_BIT | 39, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn arguments_decide() {
        let program = filter(true).expect("the filter compiles");
        let check = |number: libc::c_long, arguments: [i64; 3], expected: i32| {
            let [a, b, c] = arguments.map(i64::cast_unsigned);
            let answer = run(&program, syscalls::AUDIT_ARCH, number as u32, [a, b, c, 0, 0, 0]);
            let wanted =
                if expected == 0 { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_ERRNO | expected as u32 };
            assert_eq!(answer, wanted, "system call {number} with {arguments:?}");
        };
        let cloexec = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let socket = |family: i32, kind: i32, protocol: i32| [i64::from(family), i64::from(kind), i64::from(protocol)];
        check(libc::SYS_socket, socket(libc::AF_UNIX, cloexec, 0), 0);
        check(libc::SYS_socket, socket(libc::AF_INET, cloexec, libc::IPPROTO_TCP), 0);
        check(libc::SYS_socket, socket(libc::AF_INET6, libc::SOCK_DGRAM, 0), 0);
        check(libc::SYS_socket, socket(libc::AF_INET, libc::SOCK_STREAM, 262), libc::EPROTONOSUPPORT);
        check(libc::SYS_socket, socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP), libc::EPERM);
        check(libc::SYS_socket, socket(libc::AF_INET, 10, 0), libc::EPERM);
        check(libc::SYS_socket, socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), 0);
        check(libc::SYS_socket, socket(libc::AF_NETLINK, libc::SOCK_RAW, 12), libc::EPROTONOSUPPORT);
        check(libc::SYS_socket, socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0), libc::EAFNOSUPPORT);
        check(libc::SYS_socket, socket(libc::AF_PACKET, libc::SOCK_RAW, 0), libc::EAFNOSUPPORT);
        check(libc::SYS_socketpair, socket(libc::AF_UNIX, cloexec, 0), 0);
        check(libc::SYS_clone, [i64::from(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND), 0, 0], 0);
        check(libc::SYS_clone, [i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0], libc::EPERM);
        check(libc::SYS_clone, [i64::from(libc::CLONE_NEWNET), 0, 0], libc::EPERM);
        check(libc::SYS_unshare, [i64::from(libc::CLONE_NEWNS), 0, 0], libc::EPERM);
        check(libc::SYS_unshare, [i64::from(libc::CLONE_FILES), 0, 0], 0);
        check(libc::SYS_ioctl, [0, libc::TIOCSTI as i64, 0], libc::EPERM);
        check(libc::SYS_ioctl, [0, libc::TIOCGWINSZ as i64, 0], 0);
        check(libc::SYS_personality, [0x0004_0000, 0, 0], libc::EPERM);
        check(libc::SYS_personality, [0xffff_ffff, 0, 0], 0);
        check(libc::SYS_mknodat, [0, 0, i64::from(libc::S_IFIFO | 0o600)], 0);
        check(libc::SYS_mknodat, [0, 0, i64::from(libc::S_IFBLK | 0o600)], libc::EPERM);
    }
}
