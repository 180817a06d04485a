# shellcheck shell=bash
# Builds the container image. Sourced by scripts/package.

# The user of the image: a number that no machine has given to anybody.
IMAGE_USER=10001

# copy_libraries ROOT PROGRAM...: what the programs load, from this system, and what their packages are, where scanners of
# images look for that.
copy_libraries() {
    local root="$1" library package
    shift
    { ldd "$@" | sed -nE 's/.*(=> )?[[:space:]](\/[^ ]+) \(0x.*/\2/p'; } | sort -u | while read -r library; do
        install -D -m 0755 "$(readlink -f "$library")" "$root$library"
        # Its path in the package may be that of before /lib became a link.
        package="$(dpkg-query --search "*/${library##*/}" 2>/dev/null | grep -F "${library#/usr}" | sed -n '1s/: .*//p' || true)"
        [[ -n "$package" ]] || fail "no Debian package has $library, which the programs need"
        describe_package "$root" "$package"
    done
}

describe_package() {
    local root="$1" package="${2%%:*}"
    mkdir -p "$root/var/lib/dpkg/status.d" "$root/usr/share/doc/$package"
    dpkg-query --status "$2" >"$root/var/lib/dpkg/status.d/$package"
    cp "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
}

# Debian's authorities alone: those that somebody added to this machine are no business of the image.
copy_authorities() {
    local root="$1" file
    dpkg-query --status ca-certificates >/dev/null 2>&1 || install_packages ca-certificates
    mkdir -p "$root/etc/ssl/certs"
    dpkg-query --listfiles ca-certificates | grep '/mozilla/.*\.crt$' | sort | while read -r file; do
        if [[ -e "$file" ]]; then cat "$file"; fi
    done >"$root/etc/ssl/certs/ca-certificates.crt"
    [[ "$(grep -c BEGIN "$root/etc/ssl/certs/ca-certificates.crt")" -ge 50 ]] \
        || fail "the package ca-certificates is incomplete here: reinstall it"
    describe_package "$root" ca-certificates
}

make_image_root() {
    local root="$1" program
    mkdir -p "$root"/{etc/sluice,run,usr/bin,var/lib,tmp} "$root/usr/share/doc/sluice"
    for program in sluiced sluicectl; do
        install -m 0755 "$SLUICE_BIN/$program" "$root/usr/bin/$program"
        strip "$root/usr/bin/$program"
    done
    # For the folder of the socket in a volume that everybody may write to: deploy/kubernetes. There is no shell.
    install -m 0755 /bin/mkdir "$root/usr/bin/mkdir"
    describe_package "$root" coreutils
    copy_libraries "$root" "$root"/usr/bin/*
    copy_authorities "$root"
    printf '%s:/:/nonexistent\n' root:x:0:0: "sluice:x:$IMAGE_USER:$IMAGE_USER:" >"$root/etc/passwd"
    printf '%s:\n' root:x:0 "sluice:x:$IMAGE_USER" >"$root/etc/group"
    # Redis's name is looked for in /etc/hosts first.
    printf 'passwd: files\ngroup: files\nhosts: files dns\n' >"$root/etc/nsswitch.conf"
    cp /etc/os-release "$root/etc/os-release"
    cp LICENSE deploy/debian/copyright "$root/usr/share/doc/sluice/"
    install -m 0644 deploy/examples/policy.json "$root/etc/sluice/policy.json"
    # Where volumes go. A new volume of Docker and Podman gets the owner and the mode of the folder that it covers.
    install -d -m 0750 -o "$IMAGE_USER" -g "$IMAGE_USER" "$root/run/sluice"
    install -d -m 0700 -o "$IMAGE_USER" -g "$IMAGE_USER" "$root/var/lib/sluice"
    chmod 1777 "$root/tmp"
}

# with_buildah ARGUMENTS...: in storage of its own, which goes with the temporary folder; nothing is run in the image.
with_buildah() {
    buildah --root "$TEMPORARY_FOLDER/storage" --runroot "$TEMPORARY_FOLDER/run" --storage-driver vfs "$@"
}

build_image() {
    local root="$TEMPORARY_FOLDER/root" container archive size architecture
    # Files of the image belong to its user.
    ((EUID == 0)) || fail "an image is built as root"
    need_commands buildah strip:binutils
    architecture="$(dpkg --print-architecture)"
    archive="$OUTPUT/sluice-image_${VERSION}_$architecture.tar"
    make_image_root "$root"
    {
        container="$(with_buildah from scratch)"
        # As an archive, which keeps whose the folders are.
        tar --create --directory "$root" --numeric-owner --sort=name --file "$TEMPORARY_FOLDER/root.tar" .
        with_buildah add --quiet "$container" "$TEMPORARY_FOLDER/root.tar" /
        with_buildah config --user "$IMAGE_USER:$IMAGE_USER" --workingdir / \
            --env SLUICE_SOCKET=/run/sluice/sluice.sock --env SLUICE_POLICY=/etc/sluice/policy.json \
            --env GLIBC_TUNABLES=glibc.malloc.hugetlb=1 --volume /run/sluice --stop-signal SIGTERM \
            --entrypoint '["/usr/bin/sluiced"]' --cmd '' --port '' \
            --label org.opencontainers.image.title=sluice --label "org.opencontainers.image.version=$VERSION" \
            --label org.opencontainers.image.licenses=Apache-2.0 \
            --label "org.opencontainers.image.revision=$(git rev-parse HEAD 2>/dev/null || say unknown)" \
            --healthcheck 'CMD /usr/bin/sluicectl status --alive' --healthcheck-interval 10s \
            --healthcheck-timeout 5s --healthcheck-start-period 10s --healthcheck-retries 3 "$container"
        mkdir -p "$OUTPUT"
        rm -f "$archive"
        # Docker's format, since that of OCI has no place for a health check; whatever reads the one reads the other.
        with_buildah commit --quiet --format docker --timestamp "$SOURCE_DATE_EPOCH" "$container" \
            "docker-archive:$archive:sluice:${VERSION//\~/-}"
    } >"$TEMPORARY_FOLDER/log" 2>&1 || {
        tail -n 40 "$TEMPORARY_FOLDER/log" >&2
        fail "the image was not built; the end of what buildah said stands above"
    }
    size="$(du -sb "$root" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
    note "sluice:${VERSION//\~/-}: $size, of which sluiced $(megabytes "$root/usr/bin/sluiced")" >&2
    say "$archive"
}
