//! Containers and units, from a cgroup's path: the one trace of its container that every process carries.

use super::text::Text;

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `nspawn`, or `unknown` for a pod's container that says no more.
    pub runtime: String,
    /// Its id or, for lxc and nspawn, its name.
    pub id: Text,
}

/// Scopes that hold one container, `PREFIX-ID.scope`, as systemd cgroup drivers name them.
const SCOPES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
];

/// Directories whose children are containers, as cgroupfs drivers name them.
const PARENTS: &[(&str, &str)] =
    &[("docker", "docker"), ("libpod_parent", "podman"), ("lxc", "lxc"), ("lxc.payload", "lxc")];

/// The container that a process of this cgroup runs in, and its systemd unit. Where one is inside another, the innermost.
pub fn of(cgroup: &Text) -> (Option<Container>, Option<Text>) {
    let bytes = cgroup.to_bytes();
    let path = String::from_utf8_lossy(&bytes);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let found = (0..parts.len()).rev().find_map(|at| container(&parts[..=at]));
    let unit = parts.iter().enumerate().rev().find(|(at, part)| is_unit(part) && container(&parts[..=*at]).is_none());
    (found, unit.map(|(_, unit)| Text::from(*unit)))
}

/// The container whose cgroup the last of these parts is.
fn container(parts: &[&str]) -> Option<Container> {
    let (last, before) = parts.split_last()?;
    let parent = before.last().copied().unwrap_or_default();
    scope(last).or_else(|| machine(last)).or_else(|| payload(last)).or_else(|| child(last, parent, before))
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID`, and containerd's `kubepods-….slice:cri-containerd:ID`.
fn scope(part: &str) -> Option<Container> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((_, rest)) = name.rsplit_once(":cri-containerd:") {
        return identified("containerd", rest);
    }
    SCOPES.iter().find_map(|(prefix, runtime)| identified(runtime, name.strip_prefix(prefix)?))
}

/// `systemd-nspawn@NAME.service`, and `machine-NAME.scope` as systemd-machined names an nspawn or lxc container's.
fn machine(part: &str) -> Option<Container> {
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return named("nspawn", name);
    }
    let name = part.strip_prefix("machine-")?.strip_suffix(".scope")?;
    match name.strip_prefix("lxc\\x2d") {
        Some(lxc) => named("lxc", lxc),
        // machine-qemu\x2d1\x2dNAME.scope holds a virtual machine: its processes are the host's.
        None if name.starts_with("qemu\\x2d") => None,
        None => named("nspawn", name),
    }
}

/// `lxc.payload.NAME`, and `lxc.monitor.NAME` is not the container but its keeper.
fn payload(part: &str) -> Option<Container> {
    named("lxc", part.strip_prefix("lxc.payload.")?)
}

/// A part whose parent says what it is: `docker/ID`, `libpod_parent/libpod-ID`, `lxc/NAME`, `kubepods/…/podUID/ID`,
/// `NAMESPACE/ID` of containerd.
fn child(last: &str, parent: &str, before: &[&str]) -> Option<Container> {
    if let Some((_, runtime)) = PARENTS.iter().find(|(name, _)| *name == parent) {
        return if *runtime == "lxc" { named("lxc", last) } else { identified(runtime, last) };
    }
    if matches!(parent, "k8s.io" | "default") && before.len() == 1 {
        return identified("containerd", last);
    }
    // Of a pod's container under cgroupfs, and of one under a directory unheard of, the id is all there is.
    let pod = parent.starts_with("pod") && before.iter().any(|part| part.contains("kubepods"));
    if pod || last.len() == 64 { identified("unknown", last) } else { None }
}

/// A container by its id: at least 12 hexadecimal digits.
fn identified(runtime: &str, id: &str) -> Option<Container> {
    let long = id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    long.then(|| Container { runtime: runtime.to_owned(), id: Text::from(id) })
}

/// A container by the name its owner gave it.
fn named(runtime: &str, name: &str) -> Option<Container> {
    let name = name.replace("\\x2d", "-");
    (!name.is_empty()).then(|| Container { runtime: runtime.to_owned(), id: Text::from(name.as_str()) })
}

/// A systemd unit that can hold processes.
fn is_unit(part: &str) -> bool {
    let Some((name, kind)) = part.rsplit_once('.') else { return false };
    !name.is_empty()
        && matches!(kind, "service" | "scope")
        && !name.starts_with("crio-conmon-")
        && !name.starts_with("libpod-conmon-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "9f3c5a7be01d2c3f4a5b6c7d8e9f00112233445566778899aabbccddeeff0011";
    const OTHER: &str = "0a1b2c3d4e5f00112233445566778899aabbccddeeff00119f3c5a7be01d2c3f";

    /// `runtime:id unit` of a path in which `ID` and `OTHER` stand for an id.
    fn seen(path: &str) -> String {
        let path = path.replace("ID", ID).replace("OTHER", OTHER);
        let (container, unit) = of(&Text::from(path.as_str()));
        let container = container.map_or("-".to_owned(), |c| format!("{}:{}", c.runtime, c.id));
        let unit = unit.map_or("-".to_owned(), |unit| unit.as_str().to_owned());
        format!("{container} {unit}").replace(ID, "ID").replace(OTHER, "OTHER")
    }

    #[test]
    fn paths_of_every_runtime_name_their_container_and_unit() {
        for (path, expected) in [
            // The host itself.
            ("/", "- -"),
            ("/init.scope", "- init.scope"),
            ("/system.slice/redis-server.service", "- redis-server.service"),
            ("/system.slice/system-redis.slice/redis@6380.service", "- redis@6380.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "- session-3.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service", "- redis.service"),
            ("/system.slice/docker.service", "- docker.service"),
            ("/system.slice/containerd.service", "- containerd.service"),
            ("/machine.slice/machine-qemu\\x2d1\\x2dweb.scope", "- machine-qemu\\\\x2d1\\\\x2dweb.scope"),
            ("/process_api/59126c02ea0d9becf4f69377747df5f8", "- -"),
            // docker
            ("/docker/ID", "docker:ID -"),
            ("/system.slice/docker-ID.scope", "docker:ID -"),
            ("/system.slice/docker-ID.scope/init.scope", "docker:ID init.scope"),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", "docker:ID user@1000.service"),
            ("/docker/ID/docker/OTHER", "docker:OTHER -"),
            ("/docker/ID/system.slice/redis-server.service", "docker:ID redis-server.service"),
            ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/docker-ID.scope", "docker:ID -"),
            // containerd
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5d_1.slice/cri-containerd-ID.scope",
                "containerd:ID -",
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod5d.slice:cri-containerd:ID",
                "containerd:ID containerd.service",
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-ID.scope",
                "containerd:ID -",
            ),
            ("/k8s.io/ID", "containerd:ID -"),
            ("/default/ID", "containerd:ID -"),
            ("/system.slice/nerdctl-ID.scope", "containerd:ID -"),
            // cri-o
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", "cri-o:ID -"),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", "cri-o:ID -"),
            ("/kubepods/burstable/pod1/crio-ID", "cri-o:ID -"),
            ("/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope", "- -"),
            // podman
            ("/machine.slice/libpod-ID.scope", "podman:ID -"),
            ("/machine.slice/libpod-ID.scope/container", "podman:ID -"),
            ("/libpod_parent/libpod-ID", "podman:ID -"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
                "podman:ID user@1000.service",
            ),
            ("/machine.slice/libpod-conmon-ID.scope", "- -"),
            ("/system.slice/redis.service/libpod-payload-ID", "podman:ID redis.service"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service/libpod-payload-ID",
                "podman:ID redis.service",
            ),
            // lxc
            ("/lxc/web-1", "lxc:web-1 -"),
            ("/lxc/101/ns/system.slice/redis-server.service", "lxc:101 redis-server.service"),
            ("/lxc.payload.web", "lxc:web -"),
            ("/lxc.payload.web/system.slice/redis-server.service", "lxc:web redis-server.service"),
            ("/lxc.payload/web/init.scope", "lxc:web init.scope"),
            ("/lxc.monitor.web", "- -"),
            ("/lxc.payload.web/docker/ID", "docker:ID -"),
            // nspawn
            ("/machine.slice/systemd-nspawn@web.service/payload", "nspawn:web -"),
            (
                "/machine.slice/systemd-nspawn@web.service/payload/system.slice/redis.service",
                "nspawn:web redis.service",
            ),
            ("/machine.slice/machine-web\\x2d1.scope/payload", "nspawn:web-1 -"),
            // a pod under cgroupfs, and a directory unheard of
            ("/kubepods/burstable/pod5d8e1a2b-0000-4c1d-9d3e-1a2b3c4d5e6f/ID", "unknown:ID -"),
            ("/kubepods/besteffort/pod1/ID/init.scope", "unknown:ID init.scope"),
            ("/ecs/task/ID", "unknown:ID -"),
        ] {
            assert_eq!(seen(path), expected, "{path}");
        }
    }

    /// Parts that real paths are made of, put together in any order, and parts that nobody made.
    fn part() -> impl Strategy<Value = String> {
        let real = [
            "docker",
            "lxc",
            "lxc.payload.",
            "machine-",
            "systemd-nspawn@.service",
            "libpod_parent",
            "kubepods",
            "pod1",
        ];
        prop_oneof![
            prop::sample::select(real.to_vec()).prop_map(str::to_owned),
            "(docker|crio|libpod|cri-containerd|machine|lxc.payload)[-.][0-9a-f]{0,70}(.scope)?",
            ".{0,20}(.service|.scope)?",
        ]
    }

    proptest! {
        #[test]
        fn no_path_is_too_strange_and_no_id_can_hurt_a_terminal(parts in prop::collection::vec(part(), 0..6)) {
            let (container, unit) = of(&Text::from(format!("/{}", parts.join("/")).as_str()));
            for text in container.map(|container| container.id).into_iter().chain(unit) {
                prop_assert!(!text.is_empty());
                prop_assert!(!text.as_str().chars().any(|c| c.is_control() || c == '/'));
            }
        }

        #[test]
        fn any_bytes_are_a_path(bytes: Vec<u8>) {
            let _ = of(&Text::new(&bytes));
        }
    }
}
