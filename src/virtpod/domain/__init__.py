"""libvirt's vocabulary and other people's notations, without any policy of ours."""
