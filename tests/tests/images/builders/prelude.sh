# What the scripts of builders.rs call. Each runs in a directory of its own and pushes `$IMAGE`; if it leaves a layout
# `expected`, that has the same files in a form that every tool can read.
set -euo pipefail

skopeo_copy() {
  skopeo --insecure-policy copy --quiet --src-tls-verify=false --dest-tls-verify=false "$@" >&2
}
storage() {
  local program=$1
  shift
  command "$program" --root "$ROOT/storage" --runroot "$ROOT/run" --storage-driver vfs "$@"
}
buildah() { storage buildah "$@"; }
podman() { storage podman --cgroup-manager cgroupfs --events-backend none "$@"; }

# Everything that builders put into a layer.
tree() {
  mkdir -p "$1"/{etc,opt/app,srv/deep/er}
  echo one > "$1/etc/one"
  ln "$1/etc/one" "$1/etc/two"
  ln -s one "$1/etc/link"
  echo setuid > "$1/opt/setuid"
  chown 0:33 "$1/opt/setuid"
  chmod 6750 "$1/opt/setuid"
  cp "$1/etc/one" "$1/opt/app/capable"
  setcap cap_net_bind_service=ep "$1/opt/app/capable"
  python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.note", b"a\n=\0")' "$1/opt/app/capable"
  echo deep > "$1/srv/deep/er/file"
  chown -R 1000:1001 "$1/srv/deep"
  chmod 1777 "$1/srv"
  touch -h -d 2005-06-07T08:09:10.5Z "$1/etc/one" "$1/etc/link"
}

# What a second layer changes in it.
change() {
  rm "$1/etc/two"
  ln "$1/etc/one" "$1/etc/three"
  rm -r "$1/srv/deep"
  mkdir "$1/srv/deep"
  echo new > "$1/srv/deep/new"
  rm -r "$1/opt"
  echo file > "$1/opt"
}

# archive FILE TREE [ARGUMENT..]: GNU tar's, with all attributes.
archive() {
  local file=$1 from=$2
  shift 2
  tar --create --file "$file" --directory "$from" --numeric-owner --xattrs --xattrs-include='*' "$@"
}

# blob FILE TYPE [MORE]: puts a file into `layout`; prints its descriptor.
blob() {
  local hex
  hex=$(sha256sum < "$1" | cut -c-64)
  cp "$1" "layout/blobs/sha256/$hex"
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%s%s}' "$2" "$hex" "$(stat -c %s "$1")" "${3-}"
}

oci=application/vnd.oci.image

# manifest LAYER..: puts an image of these layers into `layout`; prints its descriptor. LAYER_TYPE and LAYER (more of a
# layer's descriptor), CONFIG_TYPE and CONFIG (members of the configuration) or CONFIG_FILE, TYPE (of the manifest, as it says
# itself) and PLATFORM (of its descriptor) may be said.
manifest() {
  local layers= ids= file
  mkdir -p layout/blobs/sha256
  echo '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
  for file; do
    layers+=,$(blob "$file" "${LAYER_TYPE-$oci.layer.v1.tar+gzip}" "${LAYER-}")
    ids+=,\"sha256:$({ zstd -dcfq "$file" | gzip -dcfq || true; } | sha256sum | cut -c-64)\"
  done
  echo "{${CONFIG-\"architecture\":\"amd64\",\"os\":\"linux\",}\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[${ids#,}]}}" > config
  [ -z "${CONFIG_FILE-}" ] || cp "$CONFIG_FILE" config
  config=$(blob config "${CONFIG_TYPE-$oci.config.v1+json}")
  echo "{\"schemaVersion\":2,${TYPE-\"mediaType\":\"$oci.manifest.v1+json\",}\"config\":$config,\"layers\":[${layers#,}]}" > manifest
  blob manifest "$oci.manifest.v1+json" "${PLATFORM-}"
}

# index DESCRIPTOR..: what `layout` is of.
index() {
  local IFS=,
  echo "{\"schemaVersion\":2,${TYPE-\"mediaType\":\"$oci.index.v1+json\",}\"manifests\":[$*]}" > layout/index.json
}

# push LAYER..: an image of these layers.
push() {
  index "$(manifest "$@")"
  crane push --allow-nondistributable-artifacts layout "$IMAGE"
}

# annotate ANNOTATIONS LAYER: an image of this layer, which is annotated.
annotate() {
  manifest "$2" > /dev/null
  sed -i "s|}\]}\$|,\"annotations\":{$1}}]}|" manifest
  index "$(blob manifest "$oci.manifest.v1+json")"
  crane push layout "$IMAGE"
}
