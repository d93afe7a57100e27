//! 300 packages that many people install, in groups that fit together: one root a group.

/// A name for each group, and its packages.
pub(super) const GROUPS: &[(&str, &str)] = &[
    (
        "servers",
        "apache2 auditd bind9 certbot chrony cron dbus dnsmasq dovecot-imapd fail2ban haproxy lighttpd logrotate \
         man-db mariadb-server memcached monit nginx openssh-server openvpn postfix postgresql redis-server rsyslog \
         samba slapd squid strongswan sudo supervisor unbound varnish vsftpd wireguard",
    ),
    (
        "system",
        "acpid anacron apparmor at autofs avahi-daemon bridge-utils btrfs-progs cifs-utils console-setup cryptsetup \
         dmidecode dosfstools e2fsprogs ethtool gdisk hdparm htop ifupdown iotop iproute2 iptables iputils-ping \
         isc-dhcp-client keyboard-configuration kmod less libpam-systemd lm-sensors locales lsof ltrace lvm2 mdadm \
         mtr-tiny net-tools netcat-openbsd network-manager nfs-common nfs-kernel-server nftables nmap ntfs-3g parted \
         pciutils policykit-1 procps psmisc rsync smartmontools sssd strace sysstat systemd systemd-sysv tcpdump \
         traceroute udev ufw usbutils wpasupplicant xfsprogs",
    ),
    (
        "languages",
        "autoconf automake bison build-essential ccache clang cmake debhelper devscripts dpkg-dev flex g++ gawk gcc \
         gdb gettext git git-lfs golang-go libbz2-dev libcap-dev libcurl4-openssl-dev libevent-dev libffi-dev \
         libgmp-dev liblzma-dev libncurses-dev libpng-dev libpq-dev libreadline-dev libsqlite3-dev libssl-dev \
         libsystemd-dev libtool libxml2-dev libxslt1-dev libyaml-dev lua5.4 make maven mercurial meson ninja-build \
         nodejs openjdk-17-jdk patch perl php php-cli php-fpm php-mysql pkg-config protobuf-compiler ruby ruby-dev \
         sbcl subversion swig tcl uuid-dev valgrind zlib1g-dev",
    ),
    (
        "python",
        "gunicorn ipython3 pipx python3 python3-aiohttp python3-babel python3-bcrypt python3-boto3 python3-bs4 \
         python3-cffi python3-click python3-cryptography python3-dateutil python3-dbus python3-dev python3-django \
         python3-docutils python3-flask python3-gi python3-httpx python3-jinja2 python3-jsonschema python3-lxml \
         python3-mako python3-markdown python3-matplotlib python3-mock python3-mypy python3-networkx python3-numpy \
         python3-openssl python3-packaging python3-pandas python3-paramiko python3-pil python3-pip python3-psutil \
         python3-psycopg2 python3-pygments python3-pytest python3-redis python3-requests python3-scipy \
         python3-setuptools python3-sqlalchemy python3-tornado python3-tqdm python3-twisted python3-tz \
         python3-urllib3 python3-venv python3-virtualenv python3-websockets python3-wheel python3-yaml tox",
    ),
    (
        "tools",
        "ansible-core bash-completion bc bsd-mailx bubblewrap bzip2 ca-certificates cpio crun curl dash dialog \
         dnsutils emacs-nox expect fakeroot file fish ftp ghostscript gnupg gnuplot-nox graphviz groff htop \
         imagemagick jq krb5-user ldap-utils lz4 lzop mailutils mariadb-client moreutils mutt nano openssl \
         p7zip-full parallel pigz podman poppler-utils postgresql-client pv qemu-utils redis-tools runc screen \
         skopeo socat sqlite3 telnet time tmux tree unzip uuid-runtime vim wget whiptail whois xmlstarlet xz-utils \
         zip zsh zstd",
    ),
    (
        "desktop",
        "bluez colord cups cups-client dconf-cli ffmpeg flatpak fontconfig fonts-dejavu fonts-liberation gnome-keyring \
         gvfs hicolor-icon-theme libgl1 lightdm mesa-utils openbox pipewire pulseaudio sane-utils upower \
         x11-apps xdg-utils xserver-xorg xterm xvfb",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_300() {
        let names: BTreeSet<_> = GROUPS.iter().flat_map(|(_, names)| names.split(' ')).collect();
        assert!(names.len() >= 300, "{}", names.len());
    }
}
