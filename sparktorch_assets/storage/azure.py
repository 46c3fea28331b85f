"""Azure Blob Storage, and Data Lake Storage Gen2."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from sparktorch_assets.storage.store import OptionKey, Store, is_on

if TYPE_CHECKING:
    from pyarrow import fs

_ACCOUNT, _KEY, _SAS = "azure_storage_account_name", "azure_storage_account_key", "azure_storage_sas_key"
_CLIENT = ("azure_storage_client_id", "azure_storage_client_secret", "azure_storage_tenant_id")
_ENDPOINT, _HTTP = "azure_storage_endpoint", "azure_allow_http"


class Azure(Store):
    """Azure storage with an account's key, a SAS token, or a service principal. Without any of them, the host's own
    identity is used."""

    name = "Azure"
    schemes = ("abfs", "abfss", "az")
    keys = (
        OptionKey(name=_ACCOUNT, also=("account_name",)),
        OptionKey(
            name=_KEY,
            also=("azure_storage_access_key", "azure_storage_master_key", "master_key", "account_key", "access_key"),
            secret=True,
        ),
        OptionKey(name=_SAS, also=("azure_storage_sas_token", "sas_key", "sas_token"), secret=True),
        OptionKey(name=_CLIENT[0], also=("azure_client_id", "client_id")),
        OptionKey(name=_CLIENT[1], also=("azure_client_secret", "client_secret"), secret=True),
        OptionKey(
            name=_CLIENT[2],
            also=(
                *("azure_storage_authority_id", "azure_tenant_id", "azure_authority_id"),
                *("tenant_id", "authority_id"),
            ),
        ),
        OptionKey(name=_ENDPOINT, also=("azure_endpoint", "endpoint")),
        OptionKey(name=_HTTP, also=("allow_http",), is_flag=True),
    )

    def problem(self, options: Mapping[str, str]) -> str:
        """What is wrong with these options together."""
        principal = [name for name in _CLIENT if name in options]
        kinds = [name for name in (_KEY, _SAS, *principal[:1]) if name in options]
        if len(kinds) > 1:
            return f"{' and '.join(kinds)} are given, which are different credentials. Leave out all but one"
        if principal and len(principal) < len(_CLIENT):
            missing = [name for name in _CLIENT if name not in options]
            return (
                f"{' and '.join(principal)} is given without {' and '.join(missing)}. Give all of a service principal"
            )
        if urlsplit(options.get(_ENDPOINT, "https://")).scheme == "http" and not is_on(options, _HTTP):
            return f"{_ENDPOINT} begins with http://, which sends rows unencrypted. If that is meant, add {_HTTP}: true"
        if _ENDPOINT in options and _ACCOUNT not in options:
            return f"{_ENDPOINT} is given without {_ACCOUNT}. Give both"
        return ""

    def file_system(self, options: Mapping[str, str], uri: SplitResult) -> "fs.FileSystem":
        """The file system of one account, which is in the options or in the URI.

        Raises:
            ValueError: it is in neither.
        """
        from pyarrow import fs

        account = options.get(_ACCOUNT) or (uri.hostname or "").partition(".")[0] * ("@" in uri.netloc)
        if not account:
            raise ValueError(f"the address names no storage account; add the storage option {_ACCOUNT}")
        endpoint = urlsplit(options.get(_ENDPOINT, ""))
        client_id, client_secret, tenant_id = (options.get(name) for name in _CLIENT)
        return fs.AzureFileSystem(
            account,
            account_key=options.get(_KEY),
            blob_storage_authority=endpoint.netloc or None,
            blob_storage_scheme=endpoint.scheme or None,
            dfs_storage_authority=endpoint.netloc or None,
            dfs_storage_scheme=endpoint.scheme or None,
            client_id=client_id,
            client_secret=client_secret,
            sas_token=options.get(_SAS),
            tenant_id=tenant_id,
        )

    def path(self, uri: SplitResult) -> str:
        """The container, which may be followed by the account in the URI, and the path in it."""
        return f"{uri.netloc.partition('@')[0]}{unquote(uri.path)}".rstrip("/")
