//! Which settings a repository may have: those that neither make git run a program nor lead it out of the roots.
//!
//! A positive list, since git learns new settings that run programs with every release. Here stand also settings that the hardened
//! form overrides; what they say does not count.

use crate::{config::Setting, git::is_known};

/// What a setting may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Anything.
    Anything,
    /// One of these words, any case; nothing means true.
    OneOf(&'static [&'static str]),
    /// A file inside the working tree.
    File,
    /// The very directory the repository was found from.
    WorkTree,
}

const BOOLEAN: Says = Says::OneOf(&["", "true", "false", "yes", "no", "on", "off", "0", "1"]);
/// Those that are written today, of which libraries convert to the rarer ones by code that few have looked at: `ISO-2022-CN-EXT`
/// overflowed (CVE-2024-2961).
const CHARSET: Says = Says::OneOf(&[
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "iso8859-1",
    "latin1",
    "latin-1",
    "iso-8859-2",
    "iso-8859-5",
    "iso-8859-9",
    "iso-8859-15",
    "iso8859-15",
    "windows-1250",
    "windows-1251",
    "windows-1252",
    "cp1250",
    "cp1251",
    "cp1252",
    "cp932",
    "cp936",
    "cp949",
    "koi8-r",
    "koi8-u",
    "shift_jis",
    "shift-jis",
    "sjis",
    "euc-jp",
    "eucjp",
    "euc-kr",
    "gbk",
    "gb2312",
    "gb18030",
    "big5",
]);
const UPDATE: Says = Says::OneOf(&["checkout", "rebase", "merge", "none"]);

/// `*` stands for every key.
const ALL: &[&str] = &["*"];

/// What is said to a server, and for how long. What names a file or another server is not here.
const HTTP: &[&str] = &[
    "emptyauth",
    "extraheader",
    "followredirects",
    "lowspeedlimit",
    "lowspeedtime",
    "maxrequests",
    "postbuffer",
    "sslverify",
    "sslversion",
    "useragent",
    "version",
];

/// Settings without a subsection that may say anything.
const PLAIN: &[(&str, &[&str])] = &[
    ("advice", ALL),
    ("apply", &["ignorewhitespace", "whitespace"]),
    ("blame", &["blankboundary", "coloring", "date", "markignoredlines", "markunblamablelines", "showemail", "showroot"]),
    ("branch", &["autosetupmerge", "autosetuprebase", "sort"]),
    ("checkout", &["defaultremote", "guess", "thresholdforparallelism", "workers"]),
    ("clean", &["requireforce"]),
    ("color", ALL),
    ("column", ALL),
    // `gpgsign` is overridden.
    ("commit", &["cleanup", "gpgsign", "status", "verbose"]),
    (
        "core",
        &[
            "abbrev",
            // Overridden.
            "askpass",
            "autocrlf",
            "bare",
            "bigfilethreshold",
            "checkstat",
            "commentchar",
            "commentstring",
            "commitgraph",
            "compression",
            "deltabasecachelimit",
            // Overridden, by a variable.
            "editor",
            "eol",
            "filemode",
            "filesreflocktimeout",
            "fscache",
            // Overridden.
            "fsmonitor",
            "fsmonitorhookversion",
            "fsync",
            "fsyncmethod",
            "hidedotfiles",
            // Overridden.
            "hookspath",
            "ignorecase",
            "logallrefupdates",
            "longpaths",
            "loosecompression",
            "multipackindex",
            "notesref",
            "packedgitlimit",
            "packedgitwindowsize",
            "packedrefstimeout",
            // Overridden.
            "pager",
            "precomposeunicode",
            "preloadindex",
            "protecthfs",
            "protectntfs",
            "quotepath",
            "repositoryformatversion",
            "safecrlf",
            "sharedrepository",
            "sparsecheckout",
            "sparsecheckoutcone",
            "splitindex",
            // Overridden.
            "sshcommand",
            "symlinks",
            "trustctime",
            // Overridden.
            "untrackedcache",
            "usereplacerefs",
            "warnambiguousrefs",
            "whitespace",
        ],
    ),
    // Overridden.
    ("credential", &["helper"]),
    (
        "diff",
        &[
            "algorithm",
            "autorefreshindex",
            "colormoved",
            "colormovedws",
            "context",
            "dirstat",
            "dstprefix",
            "ignoresubmodules",
            "indentheuristic",
            "interhunkcontext",
            "mnemonicprefix",
            "noprefix",
            "relative",
            "renamelimit",
            "renames",
            "srcprefix",
            "statgraphwidth",
            "statnamewidth",
            "suppressblankempty",
            "wserrorhighlight",
        ],
    ),
    (
        "extensions",
        &[
            "compatobjectformat",
            "noop",
            "objectformat",
            "partialclone",
            "preciousobjects",
            "refstorage",
            "relativeworktrees",
            "worktreeconfig",
        ],
    ),
    ("feature", &["experimental", "manyfiles"]),
    (
        "fetch",
        &[
            "all",
            "negotiationalgorithm",
            "output",
            "parallel",
            "prune",
            "prunetags",
            "recursesubmodules",
            "showforcedupdates",
            "writecommitgraph",
        ],
    ),
    ("format", &["pretty"]),
    (
        "gc",
        &[
            "aggressivedepth",
            "aggressivewindow",
            "auto",
            "autodetach",
            "autopacklimit",
            "bigpackthreshold",
            "cruftpacks",
            "packrefs",
            "pruneexpire",
            "reflogexpire",
            "reflogexpireunreachable",
            "rerereresolved",
            "rerereunresolved",
            "worktreepruneexpire",
            "writecommitgraph",
        ],
    ),
    ("github", &["user"]),
    ("grep", &["column", "extendedregexp", "fullname", "linenumber", "patterntype", "threads"]),
    // Read by git-gui alone.
    ("gui", ALL),
    // No protocol is allowed.
    ("http", HTTP),
    ("index", &["recordendofindexentries", "recordoffsettable", "skiphash", "sparse", "threads", "version"]),
    ("init", &["defaultbranch"]),
    ("lfs", &["locksverify", "repositoryformatversion"]),
    (
        "log",
        &[
            "abbrevcommit",
            "date",
            "decorate",
            "diffmerges",
            "excludedecoration",
            "follow",
            "graphcolors",
            "initialdecorationset",
            "mailmap",
            "showroot",
            // Overridden.
            "showsignature",
        ],
    ),
    ("mailmap", &["blob"]),
    ("maintenance", &["auto", "autodetach", "strategy"]),
    (
        "merge",
        &[
            "autostash",
            "branchdesc",
            "conflictstyle",
            "defaulttoupstream",
            "directoryrenames",
            "ff",
            "log",
            "renamelimit",
            "renames",
            "renormalize",
            "stat",
            "suppressdest",
            "verbosity",
        ],
    ),
    ("notes", &["displayref", "mergestrategy", "rewritemode", "rewriteref"]),
    (
        "pack",
        &[
            "compression",
            "deltacachelimit",
            "deltacachesize",
            "depth",
            "indexversion",
            "packsizelimit",
            "threads",
            "usebitmaps",
            "usesparse",
            "window",
            "windowmemory",
            "writebitmaphashcache",
            "writereverseindex",
        ],
    ),
    ("pretty", ALL),
    ("pull", &["ff", "rebase"]),
    ("push", &["autosetupremote", "default", "followtags", "negotiate", "recursesubmodules", "useforceifincludes"]),
    (
        "rebase",
        &[
            "abbreviatecommands",
            "autosquash",
            "autostash",
            "backend",
            "forkpoint",
            "instructionformat",
            "maxlabellength",
            "missingcommitscheck",
            "rebasemerges",
            "reschedulefailedexec",
            "stat",
            "updaterefs",
        ],
    ),
    ("receive", &["denycurrentbranch", "denydeletes", "denynonfastforwards"]),
    ("remote", &["pushdefault"]),
    ("repack", &["usedeltabaseoffset", "usedeltaislands", "writebitmaps"]),
    ("rerere", &["autoupdate", "enabled"]),
    ("safe", &["directory"]),
    ("stash", &["showincludeuntracked", "showpatch", "showstat"]),
    (
        "status",
        &[
            "aheadbehind",
            "branch",
            "displaycommentprefix",
            "relativepaths",
            "renamelimit",
            "renames",
            "short",
            "showstash",
            "showuntrackedfiles",
        ],
    ),
    ("submodule", &["active", "fetchjobs", "propagatebranches", "recurse"]),
    // `gpgsign` is overridden.
    ("tag", &["forcesignannotated", "gpgsign", "sort"]),
    ("user", &["email", "name", "signingkey", "useconfigonly"]),
    ("versionsort", &["suffix"]),
    ("worktree", &["guessremote"]),
];

/// Settings with a subsection that may say anything.
const NAMED: &[(&str, &[&str])] = &[
    (
        "branch",
        &[
            "description",
            "gh-merge-base",
            "github-pr-base-branch",
            "github-pr-owner-number",
            "merge",
            "pushremote",
            "rebase",
            "remote",
            "vscode-merge-base",
        ],
    ),
    ("color", ALL),
    // No patterns: comparing with them can take as long as their author likes.
    ("diff", &["algorithm", "binary"]),
    ("gc", &["reflogexpire", "reflogexpireunreachable"]),
    ("gitflow", ALL),
    ("gui", ALL),
    ("http", HTTP),
    ("lfs", &["access", "locksverify"]),
    ("maintenance", &["enabled", "schedule"]),
    ("merge", &["name", "recursive"]),
    (
        "remote",
        &[
            "fetch",
            "followremotehead",
            "gh-resolved",
            "mirror",
            "partialclonefilter",
            "promisor",
            "prune",
            "prunetags",
            "push",
            "pushurl",
            "skipdefaultupdate",
            "skipfetchall",
            "tagopt",
            "url",
        ],
    ),
    ("submodule", &["active", "branch", "fetchrecursesubmodules", "ignore", "url"]),
];

/// Settings that may say some things.
const SOME: &[(&str, &str, Says)] = &[
    ("blame", "ignorerevsfile", Says::File),
    ("commit", "template", Says::File),
    ("core", "attributesfile", Says::File),
    ("core", "excludesfile", Says::File),
    ("core", "worktree", Says::WorkTree),
    ("i18n", "commitencoding", CHARSET),
    ("i18n", "logoutputencoding", CHARSET),
    ("mailmap", "file", Says::File),
    // The hardened form sets GIT_PAGER, which wins; so this is not dangerous, but a pager of its own is not ordinary either.
    ("pager", "*", BOOLEAN),
];

/// What `git lfs install` writes, in a repository or for a user; anything else in a filter is a program of somebody else's choice.
const LFS: &[(&str, &str)] = &[
    ("clean", "git-lfs clean -- %f"),
    ("process", "git-lfs filter-process"),
    ("required", "true"),
    ("smudge", "git-lfs smudge -- %f"),
];

/// Settings without a subsection that do nothing but have programs executed, or say how.
const EXECUTING: &[(&str, &[&str])] = &[
    ("core", &["alternaterefscommand", "gitproxy"]),
    ("diff", &["external", "guitool", "tool"]),
    ("difftool", ALL),
    ("gpg", &["format", "program"]),
    ("interactive", &["difffilter"]),
    ("merge", &["guitool", "tool"]),
    ("mergetool", ALL),
    // GIT_PAGER wins.
    ("pager", ALL),
    ("sequence", &["editor"]),
];

/// The same with a subsection. No filters: where one can not be executed, git goes on with what it has not filtered.
const EXECUTING_NAMED: &[(&str, &[&str])] = &[
    ("credential", &["helper"]),
    ("diff", &["command", "textconv"]),
    ("difftool", ALL),
    ("gpg", &["defaultkeycommand", "program"]),
    ("merge", &["driver"]),
    ("mergetool", ALL),
    ("remote", &["receivepack", "uploadpack"]),
];

/// Whether a setting means nothing to a call of git that stays in its repository and executes nothing: git does not ask for it, or
/// fails. An alias is no program alone, but counts only for names that no sub-command of git's own has.
pub fn only_executes(setting: &Setting) -> bool {
    let Setting { section, subsection, key, .. } = setting;
    let lists = if subsection.is_none() { EXECUTING } else { EXECUTING_NAMED };
    let is_listed = lists.iter().any(|(name, keys)| name == section && (*keys == ALL || keys.contains(&key.as_str())));
    is_listed || section == "alias" && subsection.is_none() && !is_known(key)
}

/// What the setting may say; none if it is not known to be harmless.
pub fn allowed(setting: &Setting) -> Option<Says> {
    let Setting { section, subsection, key, value } = setting;
    let listed = |list: &[(&str, &[&str])]| {
        let keys = list.iter().find(|(name, _)| name == section).map_or(&[][..], |(_, keys)| keys);
        keys == ALL || keys.contains(&key.as_str())
    };
    match subsection.as_deref() {
        None if listed(PLAIN) => Some(Says::Anything),
        None => SOME.iter().find(|(name, known, _)| name == section && (known == key || *known == "*")).map(|(_, _, says)| *says),
        Some(_) if listed(NAMED) => Some(Says::Anything),
        Some(_) if (section.as_str(), key.as_str()) == ("submodule", "update") => Some(UPDATE),
        Some("lfs") if section == "filter" => {
            LFS.iter().any(|(known, said)| known == key && value.as_deref() == Some(*said)).then_some(Says::Anything)
        }
        Some(_) => None,
    }
}

/// What is wrong with a setting that is not known to be harmless, as the end of a sentence that begins with the setting.
pub fn danger(setting: &Setting) -> &'static str {
    match (setting.section.as_str(), setting.key.as_str()) {
        ("include" | "includeif", _) => "includes another file, which this policy does not follow",
        ("filter", _) => "names a program that git runs on files of the working tree",
        ("alias", _) => "gives git a command of its own, which can be a program",
        ("diff", "command" | "textconv" | "external") => "names a program that git runs to compare files",
        ("merge", "driver") => "names a program that git runs to merge files",
        ("url", _) => "makes git speak to another address than the one that is shown",
        ("core", "gitproxy" | "alternaterefscommand") | ("remote", "uploadpack" | "receivepack" | "vcs") | ("gpg", _) => {
            "names a program that git runs"
        }
        _ => "is not among the settings that are known to be harmless",
    }
}
