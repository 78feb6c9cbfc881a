/**
 * A certificate for servers of tests, valid for a hundred years, its own authority, for the names below. Made once by
 * `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500`; it guards nothing.
 */
export const TEST_TLS = {
  names: ['api.allowed.test', 'other.allowed.test', 'index.allowed.test', 'files.allowed.test', 'localhost'],
  cert: `-----BEGIN CERTIFICATE-----
MIIB8DCCAZWgAwIBAgIUGlfvzMVEbVMe7GHFqzLxXzzfRAswCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOTWlsbGljZW50IHRlc3QwIBcNMjYxMTIxMTEwNTEzWhgPMjEy
NjEwMjgxMTA1MTNaMBkxFzAVBgNVBAMMDk1pbGxpY2VudCB0ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEFY7mqKq2qkugtkjwrVuCPCLpONuzIp/hvh0JsN2m
PcChnTn4aKPDN8DyWLml4cbx6DzY9A3Q9kb4Szc7D6q0P6OBuDCBtTAdBgNVHQ4E
FgQUGOFebl0YeWKMLXYyfGzP+AMtJ2MwHwYDVR0jBBgwFoAUGOFebl0YeWKMLXYy
fGzP+AMtJ2MwYgYDVR0RBFswWYIQYXBpLmFsbG93ZWQudGVzdIISb3RoZXIuYWxs
b3dlZC50ZXN0ghJpbmRleC5hbGxvd2VkLnRlc3SCEmZpbGVzLmFsbG93ZWQudGVz
dIIJbG9jYWxob3N0MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIh
APduhBuxftB+6awOx59fItYFsumz+d0AK4Kmkaj0e3aFAiEAl8UFAmrB5eu92I0m
2qmpKLgXmnLZ7TIvmGAsm6fPaw8=
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg+xPQp7EdVRTre8oZ
uhrVODGCWOAYfJP7T7n31w+LNyKhRANCAAQVjuaoqraqS6C2SPCtW4I8Iuk427Mi
n+G+HQmw3aY9wKGdOfhoo8M3wPJYuaXhxvHoPNj0DdD2RvhLNzsPqrQ/
-----END PRIVATE KEY-----
`,
};
