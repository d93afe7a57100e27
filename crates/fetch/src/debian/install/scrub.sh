
# Scrub list: what tells one run, or one machine, from another.
[ -z "$policy" ] || rm -f "$policy"
# Logs: gone are those that the tools above write, empty those that packages made.
rm -f /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log
rm -rf /var/log/apt/history.log /var/log/apt/term.log /var/log/apt/eipp.log.xz
# Caches: of the dynamic linker (inode numbers and times), of apt.
rm -f /var/cache/ldconfig/aux-cache
rm -f /var/cache/apt/pkgcache.bin /var/cache/apt/srcpkgcache.bin /var/cache/apt/archives/*.deb
# What dpkg and debconf keep of the state before the last change.
rm -f /var/lib/dpkg/status-old /var/lib/dpkg/diversions-old /var/lib/dpkg/statoverride-old \
	/var/lib/dpkg/available-old /var/cache/debconf/config.dat-old /var/cache/debconf/templates.dat-old \
	/var/cache/debconf/passwords.dat-old
# What accounts were before the last change.
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
# Identity: made when a container or machine starts for the first time.
[ ! -e /etc/machine-id ] || : >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/urandom/random-seed
# Secrets: each machine makes its own (`ssh-keygen -A`, `make-ssl-cert generate-default-snakeoil`).
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
if [ -e /etc/ssl/private/ssl-cert-snakeoil.key ]; then
	if [ -L /etc/ssl/certs/ssl-cert-snakeoil.pem ]; then :; else
		hash=$(openssl x509 -noout -hash -in /etc/ssl/certs/ssl-cert-snakeoil.pem 2>/dev/null || :)
		for link in "/etc/ssl/certs/$hash".[0-9]; do
			[ "$(readlink "$link")" != ssl-cert-snakeoil.pem ] || rm -f "$link"
		done
	fi
	rm -f /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/ssl/private/ssl-cert-snakeoil.key
fi
