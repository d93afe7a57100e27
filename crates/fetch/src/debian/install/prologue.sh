#!/bin/sh
# Written by reimage: configures packages that lie unpacked in this root.
set -e
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes
cd /

# No service is started: there is nothing here that could run it.
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then
	policy=
else
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 0755 $policy
fi

dpkg_run() {
	dpkg --log=/dev/null --force-unsafe-io --force-confold "$@"
}

# preinst PACKAGE INFO ARCHITECTURE: what dpkg does before it unpacks a package for the first time. The script
# runs where dpkg has it then: debconf finds the name of the package there.
preinst() {
	mkdir -m 0755 /var/lib/dpkg/tmp.ci
	for member in /var/lib/dpkg/info/"$2".*; do
		cp -p "$member" "/var/lib/dpkg/tmp.ci/${member##*.}"
	done
	rm /var/lib/dpkg/tmp.ci/list
	printf 'Package: %s\nArchitecture: %s\n' "$1" "$3" >/var/lib/dpkg/tmp.ci/control
	: "${dpkg_version:=$(dpkg --robot --version)}"
	env DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH="$3" \
		DPKG_MAINTSCRIPT_NAME=preinst DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= \
		DPKG_RUNNING_VERSION="$dpkg_version" /var/lib/dpkg/tmp.ci/preinst install
	rm -r /var/lib/dpkg/tmp.ci
}

