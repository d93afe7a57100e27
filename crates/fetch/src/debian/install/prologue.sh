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

# preinst PACKAGE INFO ARCHITECTURE: what dpkg does before it unpacks a package for the first time.
preinst() {
	env DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH="$3" \
		DPKG_MAINTSCRIPT_NAME=preinst DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= \
		DPKG_RUNNING_VERSION="${dpkg_version:=$(dpkg --robot --version)}" \
		"/var/lib/dpkg/info/$2.preinst" install
}

