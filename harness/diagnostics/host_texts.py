"""What Python, its libraries and the system say. One entry a rule: add yours to its family."""

from __future__ import annotations

from harness.diagnostics.text_rule import text_rule as _rule

_NETWORK = (
    _rule(
        "connection-refused",
        "network",
        r"[Cc]onnection refused|ConnectionRefusedError|All connection attempts failed|Connect call failed|"
        r"WinError 10061",
        "connection refused",
        "nothing listens at that address: the service does not run, has ended, or listens on another port",
        "start it (`hil serve` for a model), see what listens with `ss -tlnp`, and compare host and port with the rig",
        90,
    ),
    _rule(
        "name-not-known",
        "network",
        r"Name or service not known|Temporary failure in name resolution|No address associated with hostname|"
        r"nodename nor servname",
        "the host's name is not known",
        "the name in the address is misspelt, or this machine has no name service (a container, no network)",
        "try its IP address, or 127.0.0.1 for a service on this machine",
        90,
    ),
    _rule(
        "certificate",
        "network",
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed",
        "the server's certificate is not accepted",
        "it is self-signed, out of date, or issued for another name; or this machine's clock is wrong",
        "check the date here, and give the certificate of the authority instead of switching verification off",
        91,
    ),
    _rule(
        "connection-reset",
        "network",
        r"Connection reset by peer|ConnectionResetError|Server disconnected without sending a response|Broken pipe|"
        r"closed the connection too early",
        "the connection broke",
        "the other end closed it: the service crashed or restarted, or a proxy gave up",
        "look at the service's own log at that moment, and at `hil health URL`",
        82,
    ),
    _rule(
        "timeout",
        "network",
        r"\b(?:Read|Connect|Write|Pool)Timeout\b|\bTimeoutError\b|\btimed out\b|no whole response within",
        "no answer in time",
        "the other end is reachable and too slow, or a firewall drops what is sent",
        "measure how long one call takes without a load, then raise the timeout above it or make the service faster",
        75,
    ),
    _rule(
        "address-in-use",
        "network",
        r"\[Errno 98\]|Address already in use|address already in use",
        "the port is taken",
        "another process listens on it: often an older run of the same service",
        "`ss -tlnp` says which; end it, or take another port (0: any that is free)",
        91,
    ),
)

_IMPORTS = (
    _rule(
        "import-error",
        "import",
        r"(?:No module named|\bneeds) '(?P<module>[\w.]+)'",
        "a module is missing",
        "{module} is not installed in the environment that runs this, or another environment is active",
        "{install}",
        90,
    ),
    _rule(
        "import-error",
        "import",
        r"cannot import name '(?P<name>[^']+)' from partially initialized module '(?P<module>[^']+)'",
        "an import fails",
        "modules import each other in a circle, or a file of yours has the name of a library",
        "look for a file called {module}.py in the working directory; else import inside the function that needs it",
        92,
    ),
    _rule(
        "import-error",
        "import",
        r"cannot import name '(?P<name>[^']+)' from '(?P<module>[^']+)'",
        "an import fails",
        "{module} has no {name}: the version that is installed is older or newer than the one this was written for",
        "{upgrade}",
        91,
    ),
    _rule(
        "library-missing",
        "import",
        r"(?P<library>lib[\w.+-]+\.so[\w.]*): cannot open shared object file",
        "a system library is missing",
        "{library} is not installed on this system, which pip cannot do",
        "find its package (apt-file search {library}, or `dnf provides`) and install it",
        92,
    ),
    _rule(
        "import-error",
        "import",
        r"\bImportError\b|(?i:\bimport error\b)",
        "an import fails",
        "a package is missing, broken or of another version, or another environment is active",
        "python -m pip check, then install what it names in the environment that runs this",
        80,
    ),
)

_PORTS = (
    _rule(
        "port-permission",
        "port",
        r"Permission denied: '?(?P<path>/dev/(?:tty|rfcomm|serial)[^'\s:]*)|"
        r": no permission to open it",
        "a serial port may not be opened",
        "this user is not in the group that owns the port",
        "sudo usermod -aG dialout $USER, then log in again (or newgrp dialout); `hil doctor` checks it",
        94,
    ),
    _rule(
        "no-such-port",
        "port",
        r"could not open port '?(?P<path>[^':\s]+)'?: [^\n]*(?:No such file|FileNotFoundError|No such device)|"
        r"(?P<there>/[^:\s]+): there is no such port",
        "a serial port is not there",
        "nothing is plugged in under that name: another number after plugging in again, no cable, or no driver",
        "`hil discover` lists the ports; /dev/serial/by-id/... keeps its name when things are plugged in again",
        92,
    ),
    _rule(
        "port-busy",
        "port",
        r"Device or resource busy|Could not exclusively lock port|Resource temporarily unavailable|the port is busy",
        "a serial port is busy",
        "another program has it open: a serial monitor, a run that still goes on, or ModemManager on a fresh port",
        "`fuser -v PORT` names it; close that program; `hil doctor` says whether ModemManager runs",
        91,
    ),
    _rule(
        "port-gone",
        "port",
        r"device reports readiness to read but returned no data|\[Errno 5\] Input/output error|"
        r"\[Errno 6\] No such device",
        "a serial port went away",
        "the adapter was unplugged, or it reset itself (too little power, a bad cable, a hub that suspends it); or a "
        "second program reads the same port",
        "look at `dmesg | tail` for that moment; try another cable and a port on the machine itself; fuser -v PORT",
        93,
    ),
    _rule(
        "port-unknown",
        "port",
        r"could not open port '?(?P<path>[^':\s]+)",
        "a serial port cannot be opened",
        "{path} is no serial port, or its driver refuses these settings",
        "`hil discover` lists the ports of this machine",
        78,
    ),
)

_BLUETOOTH = (
    _rule(
        "bluez-not-there",
        "bluetooth",
        r"org\.freedesktop\.DBus\.Error\.ServiceUnknown|The name org\.bluez was not provided|"
        r"No such file or directory: '[^'\n]*system_bus_socket'",
        "no Bluetooth service",
        "bluetoothd does not run, or there is no system D-Bus here (a container)",
        "sudo systemctl start bluetooth; in a container, mount /run/dbus from the host",
        93,
    ),
    _rule(
        "bluetooth-off",
        "bluetooth",
        r"org\.bluez\.Error\.NotReady|No powered Bluetooth adapters? found|Bluetooth device is turned off|"
        r"No Bluetooth adapters? found",
        "Bluetooth is off",
        "there is no adapter, or it is blocked or switched off",
        "rfkill unblock bluetooth, then bluetoothctl power on; `hil doctor` shows the adapters",
        93,
    ),
    _rule(
        "bluetooth-pairing",
        "bluetooth",
        r"org\.bluez\.Error\.(?:Authentication\w+|NotPermitted|NotAuthorized)|"
        r"Insufficient (?:Authentication|Encryption)",
        "the sensor refuses without pairing",
        "it wants a bond, or one side has forgotten an old one",
        "bluetoothctl remove ADDRESS, then pair ADDRESS and trust ADDRESS while the sensor is in pairing mode",
        92,
    ),
    _rule(
        "bluetooth-busy",
        "bluetooth",
        r"org\.bluez\.Error\.(?P<kind>InProgress|AlreadyConnected)",
        "Bluetooth is busy",
        "another program scans or connects at the same time, or an older connection still stands",
        "close other Bluetooth programs, then bluetoothctl disconnect ADDRESS, or sudo systemctl restart bluetooth",
        91,
    ),
    _rule(
        "bluetooth-failed",
        "bluetooth",
        r"org\.bluez\.Error\.(?P<kind>\w+)|le-connection-abort-by-local|Device with address \S+ was not found",
        "a Bluetooth sensor cannot be connected",
        "it is out of range, asleep, not worn, or connected to a phone or watch, which takes its only connection",
        "wake it (wear it, wet the electrodes), switch Bluetooth off on phones nearby, then hil discover",
        86,
    ),
)

_SYSTEM = (
    _rule(
        "disk-full",
        "system",
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        "the disk is full",
        "recordings, logs or caches have filled it",
        "df -h says which file system, du -sh runs/* which runs are large; record elsewhere with --out",
        94,
    ),
    _rule(
        "too-many-files",
        "system",
        r"Too many open files|\[Errno 24\]",
        "no file can be opened any more",
        "files, sockets or ports are opened and never closed, or the limit is low for so many sensors",
        "see what stays open (ls -l /proc/PID/fd), close what is opened in a loop; ulimit -n 4096 gains time",
        94,
    ),
    _rule(
        "too-many-threads",
        "system",
        r"can't start new thread",
        "no thread can be started any more",
        "threads are started and never end, or the container's limit on processes is low",
        "count them (ls /proc/PID/task | wc -l) while it runs, and compare with ulimit -u and the pids limit",
        92,
    ),
    _rule(
        "read-only",
        "system",
        r"Read-only file system",
        "nothing can be written",
        "the file system is mounted read only: a container's volume, or a disk that reported errors",
        "write elsewhere with --out, or look at dmesg for errors of the disk",
        92,
    ),
    _rule(
        "permission",
        "system",
        r"Permission denied|Operation not permitted",
        "no permission",
        "this user may not do that with this file or device",
        "ls -l shows its owner and group; write elsewhere with --out, or join the group",
        70,
    ),
)

HOST_RULES = (*_NETWORK, *_IMPORTS, *_PORTS, *_BLUETOOTH, *_SYSTEM)
