"""Google Cloud Storage."""

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

from sparktorch_assets.storage.store import OptionKey, Store, is_on

if TYPE_CHECKING:
    from pyarrow import fs

_ACCOUNT, _ANONYMOUS = "google_service_account", "google_skip_signature"
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_environment = threading.Lock()


class GoogleCloudStorage(Store):
    """Google Cloud Storage with the file of a service account, which must be on every host, or anonymously."""

    name = "Google Cloud Storage"
    schemes = ("gs", "gcs")
    keys = (
        OptionKey(
            name=_ACCOUNT,
            also=(
                *("service_account", "google_service_account_path", "service_account_path"),
                *("google_application_credentials", "application_credentials"),
            ),
        ),
        OptionKey(name=_ANONYMOUS, also=("skip_signature",), is_flag=True),
    )

    def problem(self, options: Mapping[str, str]) -> str:
        """What is wrong with these options together."""
        if is_on(options, _ANONYMOUS) and _ACCOUNT in options:
            return f"{_ANONYMOUS} is true, and there is {_ACCOUNT} as well. Leave out one of them"
        return ""

    def file_system(self, options: Mapping[str, str], uri: SplitResult) -> "fs.FileSystem":
        """The file system of all buckets."""
        from pyarrow import fs

        del uri
        if _ACCOUNT not in options:
            return fs.GcsFileSystem(anonymous=is_on(options, _ANONYMOUS))
        # pyarrow (26.0) takes the file from the environment alone, and reads it while the object is made.
        with _environment:
            before = os.environ.get(_VARIABLE)
            os.environ[_VARIABLE] = options[_ACCOUNT]
            try:
                return fs.GcsFileSystem()
            finally:
                if before is None:
                    del os.environ[_VARIABLE]
                else:
                    os.environ[_VARIABLE] = before
