//! Files that other processes name: executables, libraries, configurations.
//!
//! In: a path below `/proc/PID`, or one in a process' own file system. Out: a file to read. Always holds: what is found is looked at before it is
//! opened, and only regular files are: opening a pipe, a device or a leased file could hold the agent up for ever or do something; no link in a process'
//! file system leads out of its root. Refuses: everything else, at once.

use std::{
    ffi::CString,
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt},
        },
    },
    path::{Path, PathBuf},
};

use super::proc_root::ProcRoot;

/// Which file it is, in a state that it has once: nobody can set a ctime, and every change of the file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    size: u64,
    /// s and ns.
    changed: (i64, i64),
}

impl FileId {
    /// Of what stat(2) says.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file that was looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// A path to it, which may lead to another file later.
    pub path: PathBuf,
    /// The file that it led to.
    pub id: FileId,
}

impl Looked {
    /// `file` was opened at `path`.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn at(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            id: FileId::of(&file.metadata()?),
        })
    }
}

/// The root folder of a process.
#[derive(Debug)]
pub struct Root(File);

impl Root {
    /// That of the process `tgid`.
    ///
    /// # Errors
    /// The process is gone, or belongs to somebody else and CAP_SYS_PTRACE is missing.
    pub fn of(root: &ProcRoot, tgid: u32) -> io::Result<Self> {
        File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(root.file(tgid, "root"))
            .map(Root)
    }

    /// Finds what is at `path` without opening it. `flags` are added to O_PATH.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn find(&self, path: &Path, flags: i32) -> io::Result<File> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: three integers, for which zero is a value; the struct may not be written as a literal.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC | flags).cast_unsigned());
        how.resolve = libc::RESOLVE_IN_ROOT;
        // SAFETY: `path` ends with a zero byte and `how` has the size given; both live until the call is over.
        let descriptor = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                self.0.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        let Some(descriptor) = i32::try_from(descriptor).ok().filter(|made| *made >= 0) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
        let made = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(File::from(made))
    }
}

/// Opens what was found (O_PATH) for reading.
///
/// # Errors
/// It is no regular file, or as open(2).
pub fn open_found(found: &File) -> io::Result<File> {
    if !found.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    // Some files of a mounted proc wait for something to say, and a lease's holder for a long time (`man 2 fcntl`, F_SETLEASE).
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(by_descriptor(found))
}

/// Opens the regular file at `path`, which is a link of the kernel's (`/proc/PID/exe`), or one whose links may lead anywhere.
///
/// # Errors
/// It is no regular file, or as open(2).
pub fn regular(path: &Path) -> io::Result<File> {
    let found = File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    open_found(&found)
}

/// Opens the file that a process has mapped at `start` to `end` and that its maps call `path`.
///
/// # Errors
/// As [`regular`]; the mapping and the file under that name are gone.
pub fn mapped(
    root: &ProcRoot,
    tgid: u32,
    (start, end): (u64, u64),
    path: &str,
) -> io::Result<(File, Looked)> {
    // The file itself, whatever has its name now. Only for CAP_SYS_ADMIN and CAP_CHECKPOINT_RESTORE (`proc_map_files_get_link`).
    let link = root.file(tgid, &format!("map_files/{start:x}-{end:x}"));
    if let Ok(file) = regular(&link) {
        let looked = Looked::at(&link, &file)?;
        return Ok((file, looked));
    }
    let found = Root::of(root, tgid)?.find(Path::new(path), 0)?;
    // Files of a mounted proc say so, and reading some of them takes from others what they say.
    if found.metadata()?.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is empty"));
    }
    let below = root.file(tgid, "root").join(path.trim_start_matches('/'));
    let file = open_found(&found)?;
    let looked = Looked::at(&below, &file)?;
    Ok((file, looked))
}

/// A name for what was found, to open it: nothing can take its place in between.
pub fn by_descriptor(found: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
pub(super) mod tests {
    use std::{
        io::Read,
        os::unix::{ffi::OsStrExt, fs::symlink},
        path::Path,
        sync::mpsc,
        time::Duration,
    };

    use super::{ProcRoot, mapped, regular};

    pub(in super::super) const TGID: u32 = 42;

    /// Puts something at a path.
    type Put = fn(&Path);

    /// A pipe without a writer, which nobody can open for reading without waiting.
    fn pipe(at: &Path) {
        let name = std::ffi::CString::new(at.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends with a zero byte.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    }

    /// Puts a pipe, links to devices and out of the root, and a folder under the name `path`, one after the other, in a process' file system.
    pub(in super::super) fn with_traps(path: &str, look: fn(&ProcRoot)) {
        let traps: [(&str, Put); 5] = [
            ("a pipe", pipe),
            ("a link to a device", |at| symlink("/dev/zero", at).unwrap()),
            ("a link to a device outside of the root", |at| {
                symlink("../../../../../../../../../dev/zero", at).unwrap();
            }),
            ("a link to a file outside of the root", |at| {
                symlink("/etc/passwd", at).unwrap();
            }),
            ("a folder", |at| std::fs::create_dir(at).unwrap()),
        ];
        for (what, put) in traps {
            let folder = tempfile::tempdir().unwrap();
            let process = folder.path().join(TGID.to_string());
            let at = process.join("root").join(path.trim_start_matches('/'));
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::create_dir_all(process.join("root/dev")).unwrap();
            // What an absolute link means in there.
            pipe(&process.join("root/dev/zero"));
            put(&at);
            for (name, target) in [("exe", "/bin/sh"), ("mem", "/proc/self/mem")] {
                symlink(target, process.join(name)).unwrap();
            }
            let root = ProcRoot::at(folder.path());
            let (done, ended) = mpsc::channel();
            std::thread::spawn(move || {
                look(&root);
                let _ = done.send(());
            });
            let ended = ended.recv_timeout(Duration::from_secs(5));
            assert!(ended.is_ok(), "{what} holds the agent up");
        }
    }

    #[test]
    fn a_mapped_file_is_the_one_in_memory_whatever_has_its_name_now() {
        const PATH: &str = "/lib/libx.so (deleted)";
        with_traps(PATH, |root| {
            assert!(mapped(root, TGID, (0x1000, 0x2000), PATH).is_err());
        });
        // This process' own executable.
        let (root, tgid) = (ProcRoot::live(), std::process::id());
        let maps = String::from_utf8(root.maps(tgid).unwrap()).unwrap();
        let (start, end) = maps.split_once(' ').unwrap().0.split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let begin = |mut file: std::fs::File| {
            let mut bytes = [0; 64];
            file.read_exact(&mut bytes).unwrap();
            bytes
        };
        let (file, looked) = mapped(&root, tgid, (hex(start), hex(end)), "/bin/sh").unwrap();
        assert_eq!(looked.path.parent(), Some(&*root.file(tgid, "map_files")));
        let own = regular(&root.file(tgid, "exe")).unwrap();
        assert_eq!(begin(file), begin(own));
        // No such mapping: by its name, in the process' root.
        let (_, looked) = mapped(&root, tgid, (0, 0x1000), "/bin/sh").unwrap();
        assert_eq!(looked.path, root.file(tgid, "root").join("bin/sh"));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("pipe");
        pipe(&at);
        for path in [at.as_path(), Path::new("/dev/zero"), folder.path()] {
            assert!(regular(path).is_err(), "{}", path.display());
        }
        assert!(regular(Path::new("/bin/sh")).is_ok());
    }
}
