"""HTTPS by flags: who is answered, who is not, and what a file that cannot be used is called."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from services.gateway import protocol, tls
from services.gateway.app import build_app
from services.gateway.config import GatewayConfig
from shared.errors import ConfigError
from tests.certificates import Root, Signed
from tests.unit.gateway.fakes import a_world, error_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return Root(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(root: Root) -> Signed:
    return root.sign("server")


@asynccontextmanager
async def a_secure_url(checkpoint: Path, server: Signed, client_ca: Path | str = "") -> AsyncIterator[str]:
    files = {"tls_cert": str(server.certificate), "tls_key": str(server.key), "tls_client_ca": str(client_ca)}
    async with a_world(checkpoint, ready=False, **files) as world:
        runner, port = await protocol.serve(build_app(world.deps), world.deps.config, tls.context(world.deps.config))
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            await runner.cleanup()


def trusting(root: Root, own: Signed | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=root.own.certificate)
    if own:
        context.load_cert_chain(own.certificate, own.key)
    return context


async def test_who_trusts_the_certificate_is_answered(checkpoint: Path, root: Root, server: Signed) -> None:
    async with a_secure_url(checkpoint, server) as url, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/v1/models", ssl=trusting(root)) as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"{url}/v1/models")
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"http{url[5:]}/v1/models")


async def test_versions_before_1_2_are_refused(checkpoint: Path, root: Root, server: Signed) -> None:
    async with a_secure_url(checkpoint, server) as url, aiohttp.ClientSession() as http:
        for version, served in ((ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
            context = trusting(root)
            context.minimum_version = context.maximum_version = version
            async with http.get(f"{url}/health", ssl=context, headers={"Connection": "close"}) as response:
                assert (response.status == 200) is served
    made = tls.context(GatewayConfig(tls_cert=str(server.certificate), tls_key=str(server.key)))
    assert made and made.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_with_a_client_ca_all_but_probes_need_a_certificate(
    checkpoint: Path, root: Root, server: Signed, tmp_path: Path
) -> None:
    """One that another authority signed does not come through the handshake; streams need one too."""
    async with a_secure_url(checkpoint, server, root.own.certificate) as url, aiohttp.ClientSession() as http:
        for path in ("/v1/models", "/v1/streams/chatcmpl-" + "0" * 32, "/docs", "/nothing"):
            async with http.get(url + path, ssl=trusting(root), headers={"Connection": "close"}) as response:
                assert response.status == 401
                assert (await error_of(response))["code"] == "client_certificate_required"
        async with http.get(f"{url}/health", ssl=trusting(root), headers={"Connection": "close"}) as response:
            assert response.status == 200
        known = trusting(root, root.sign("client"))
        async with http.get(f"{url}/v1/models", ssl=known) as response:
            assert response.status == 200
        async with http.get(f"{url}/openapi.json", ssl=known) as response:
            assert (await response.json())["security"] == [{"certificate": []}]
        stranger = trusting(root, Root(tmp_path, "stranger").sign("client"))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await http.get(f"{url}/health", ssl=stranger)


def test_a_file_that_cannot_be_used_is_named_with_its_flag(root: Root, server: Signed, tmp_path: Path) -> None:
    """Also a key behind a password: nobody is asked for one, as nobody is there."""
    cert, key = str(server.certificate), str(server.key)
    bad, locked = tmp_path / "bad.pem", tmp_path / "locked.key"
    bad.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")
    other = str(root.sign("other").key)
    for cert_file, key_file, ca, said in (
        (str(tmp_path / "none"), key, "", "--tls-cert: .*No such file"),
        (cert, str(tmp_path / "none"), "", "--tls-key: .*No such file"),
        (key, key, "", "--tls-cert: .*no certificate"),
        (cert, cert, "", "--tls-key: .*no private key"),
        (cert, other, "", "--tls-key: .*not the key of"),
        (cert, str(locked), "", "--tls-key: .*encrypted"),
        (str(bad), key, "", "--tls-cert, --tls-key: "),
        (cert, key, key, "--tls-client-ca: .*no certificate"),
        (cert, key, str(bad), "--tls-client-ca: "),
    ):
        with pytest.raises(ConfigError, match=said):
            tls.context(GatewayConfig(tls_cert=cert_file, tls_key=key_file, tls_client_ca=ca))


@pytest.mark.parametrize("flags", [{"tls_cert": "a"}, {"tls_key": "a"}, {"tls_client_ca": "a"}])
def test_flags_that_need_each_other_are_asked_for(flags: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="tls_cert and tls_key"):
        GatewayConfig(**flags)  # type: ignore[arg-type]  # all of them are texts
    assert tls.context(GatewayConfig()) is None
