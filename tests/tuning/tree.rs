//! A tree of files that stands for a host, and the script run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Values of a host of 24 GiB that nobody has tuned, as Linux 6.18 gives them.
pub const UNTUNED: [(&str, &str); 11] = [
    ("fs/nr_open", "1048576"),
    ("fs/file-max", "9223372036854775807"),
    ("fs/epoll/max_user_watches", "5491533"),
    ("net/ipv4/tcp_mem", "287901\t383869\t575802"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t33554432"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/core/somaxconn", "4096"),
    ("net/ipv4/tcp_max_syn_backlog", "2048"),
    ("net/core/netdev_max_backlog", "1000"),
    ("net/ipv4/ip_local_port_range", "32768\t60999"),
    ("kernel/hostname", "fake"),
];

/// What conntrack adds, where it tracks something.
pub const CONNTRACK: [(&str, &str); 3] = [
    ("net/netfilter/nf_conntrack_max", "262144"),
    ("net/netfilter/nf_conntrack_buckets", "65536"),
    ("net/netfilter/nf_conntrack_count", "17"),
];

/// A host of files.
pub struct Tree {
    pub root: PathBuf,
    programs: PathBuf,
    shell: Vec<String>,
}

/// What the script did.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The programs that the script may use besides the shell itself: an initramfs has little more.
const PROGRAMS: [&str; 5] = ["cat", "mkdir", "mv", "rm", "rmdir"];

/// Where a program of this machine is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The shells of this machine that the script must run under: sh always, the others where they are installed.
fn shells() -> Vec<(&'static str, Vec<String>)> {
    let all: [(&str, &[&str]); 4] = [("sh", &[]), ("dash", &[]), ("busybox", &["sh"]), ("bash", &["--posix"])];
    let found = all.into_iter().filter_map(|(name, arguments)| {
        let path = program(name)?.to_str()?.to_owned();
        Some((name, std::iter::once(path).chain(arguments.iter().map(|word| (*word).to_owned())).collect()))
    });
    found.collect()
}

/// Runs a test on a fresh tree of an untuned host, under each shell.
pub fn on_each_shell(name: &str, test: impl Fn(&Tree)) {
    let shells = shells();
    assert!(!shells.is_empty(), "no shell is found");
    for (shell_name, shell) in shells {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tuning-{name}-{shell_name}"));
        let _ = fs::remove_dir_all(&folder);
        let tree = Tree { root: folder.join("root"), programs: folder.join("bin"), shell };
        fs::create_dir_all(&tree.programs).expect("the directory is writable");
        for name in PROGRAMS {
            let file = program(name).unwrap_or_else(|| panic!("{name} is not installed"));
            std::os::unix::fs::symlink(file, tree.programs.join(name)).expect("the directory is writable");
        }
        // The folder of the state stays when the state goes.
        fs::create_dir_all(tree.root.join("var/lib/holdfast")).expect("the directory is writable");
        tree.lay(&UNTUNED);
        tree.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\nmodel name\t: x\n");
        tree.write("proc/meminfo", "MemTotal:       24683520 kB\nMemFree:         200000 kB\n");
        tree.write("proc/self/smaps", "00400000-00401000 r--p 0 fe:00 1 /bin/sh\nKernelPageSize:        4 kB\n");
        tree.write("proc/self/limits", &limits("1048576"));
        test(&tree);
    }
}

/// /proc/self/limits with this hard limit on descriptors.
pub fn limits(hard: &str) -> String {
    format!(
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max processes             96365                96365                processes \n\
         Max open files            1024                 {hard:<20} files     \n"
    )
}

impl Tree {
    /// Writes values under /proc/sys.
    pub fn lay(&self, values: &[(&str, &str)]) {
        for (path, value) in values {
            self.set(path, value);
        }
    }

    /// Writes one value under /proc/sys.
    pub fn set(&self, path: &str, value: &str) {
        self.write(&format!("proc/sys/{path}"), &format!("{value}\n"));
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a path below the root")).expect("the directory is writable");
        fs::write(path, text).expect("the directory is writable");
    }

    /// Puts a value there that reads as 65536 and that nobody, root neither, may write: the kernel's own.
    pub fn read_only(&self, path: &str) {
        let path = self.root.join("proc/sys").join(path);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", path).expect("the directory is writable");
    }

    /// From now on this value reads as the next multiple of 4096, as a kernel that rounds would say.
    pub fn round(&self, path: &str) {
        let cat = program("cat").expect("installed");
        let script = format!(
            "#!/bin/sh\ncase $1 in\n*/{path}) echo $((($('{cat}' \"$1\") + 4095) / 4096 * 4096)) ;;\n*) exec '{cat}' \"$@\" ;;\nesac\n",
            cat = cat.display()
        );
        let file = self.programs.join("cat");
        fs::remove_file(&file).expect("it was there");
        fs::write(&file, script).expect("the directory is writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    /// A value under /proc/sys, with single blanks.
    pub fn get(&self, path: &str) -> String {
        let text = fs::read_to_string(self.root.join("proc/sys").join(path)).expect("the value is there");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// All folders and files of the tree with their text, so that "nothing has changed" is one comparison.
    pub fn everything(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    files.push((path.clone(), String::new()));
                    folders.push(path);
                } else {
                    let text = fs::read_to_string(&path).expect("text");
                    files.push((path, text.split_whitespace().collect::<Vec<_>>().join(" ")));
                }
            }
        }
        files.sort();
        files
    }

    /// Runs the script on this tree; the arguments are divided by blanks.
    pub fn apply(&self, arguments: &str) -> Done {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply");
        let mut command = Command::new(&self.shell[0]);
        command.env_clear().env("PATH", &self.programs);
        command.args(&self.shell[1..]).arg(script).args(arguments.split_whitespace());
        let output = command.env("HOLDFAST_TUNING_ROOT", &self.root).output().expect("the shell starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs the script, which must end with this status and say nothing on standard error.
    pub fn must(&self, arguments: &str, code: i32) -> String {
        let done = self.apply(arguments);
        assert_eq!((done.code, done.err.as_str()), (Some(code), ""), "{:?}: {}", self.shell, done.out);
        done.out
    }
}
