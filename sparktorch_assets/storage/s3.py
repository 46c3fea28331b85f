"""Amazon S3, and servers that speak its protocol."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from sparktorch_assets.storage.store import OptionKey, Store, is_on

if TYPE_CHECKING:
    from pyarrow import fs

_ID, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
_REGION, _ENDPOINT, _HTTP, _ANONYMOUS = "aws_region", "aws_endpoint_url", "aws_allow_http", "aws_skip_signature"
_ROLE, _ROLE_SESSION = "aws_iam_role_arn", "aws_iam_role_session_name"
_ENDPOINT_FORM = "Write it with its scheme, as in https://s3.example.com"


class S3(Store):
    """S3 with keys, with a role that the host's own identity may assume, or anonymously. What is not given is found as
    usual: in the environment, a profile, or the host's metadata."""

    name = "S3"
    schemes = ("s3", "s3a", "s3n")
    keys = (
        OptionKey(name=_ID, also=("access_key_id",)),
        OptionKey(name=_SECRET, also=("secret_access_key",), secret=True),
        OptionKey(name=_TOKEN, also=("aws_token", "session_token", "token"), secret=True),
        OptionKey(name=_REGION, also=("region", "aws_default_region", "default_region")),
        OptionKey(name=_ENDPOINT, also=("aws_endpoint", "endpoint_url", "endpoint")),
        OptionKey(name=_HTTP, also=("allow_http",), is_flag=True),
        OptionKey(name=_ANONYMOUS, also=("skip_signature",), is_flag=True),
        OptionKey(name=_ROLE, also=("aws_s3_assume_role_arn",)),
        OptionKey(name=_ROLE_SESSION, also=("aws_s3_role_session_name",)),
        # How delta-rs makes sure that only one of two writers commits a version; no other file is written that way.
        OptionKey(name="aws_conditional_put", also=("conditional_put",)),
        OptionKey(name="aws_copy_if_not_exists", also=("copy_if_not_exists",)),
        OptionKey(name="aws_s3_locking_provider"),
        OptionKey(name="aws_s3_allow_unsafe_rename", is_flag=True),
        OptionKey(name="delta_dynamo_table_name"),
    )

    def problem(self, options: Mapping[str, str]) -> str:
        """What is wrong with these options together."""
        return _credentials_problem(options) or _endpoint_problem(options)

    def file_system(self, options: Mapping[str, str], uri: SplitResult) -> "fs.FileSystem":
        """The file system of all buckets."""
        from pyarrow import fs

        del uri
        endpoint = urlsplit(options.get(_ENDPOINT, ""))
        return fs.S3FileSystem(
            access_key=options.get(_ID),
            secret_key=options.get(_SECRET),
            session_token=options.get(_TOKEN),
            anonymous=is_on(options, _ANONYMOUS),
            region=options.get(_REGION),
            scheme=endpoint.scheme or None,
            endpoint_override=endpoint.netloc or None,
            role_arn=options.get(_ROLE),
            session_name=options.get(_ROLE_SESSION),
        )

    def for_delta(self, options: Mapping[str, str]) -> dict[str, str]:
        """The options in upper case, since delta-rs compares some of them in this form only."""
        # Without this, delta-rs takes whoever names an endpoint to have keys, and assumes no role.
        forced = {"AWS_FORCE_CREDENTIAL_LOAD": "true"} if _ROLE in options else {}
        return {name.upper(): value for name, value in options.items()} | forced


def _credentials_problem(options: Mapping[str, str]) -> str:
    if (_ID in options) != (_SECRET in options):
        given, missing = (_ID, _SECRET) if _ID in options else (_SECRET, _ID)
        return f"{given} is given without {missing}. Give both, or neither"
    if _TOKEN in options and _ID not in options:
        return f"{_TOKEN} is given without {_ID} and {_SECRET}, which belong to it. Give all three"
    if _ROLE in options and _ID in options:
        return (
            f"{_ROLE} and {_ID} are given, but pyarrow assumes a role with the host's own identity only. Leave the keys "
            f"to the environment or the profile of each host, or leave out the role"
        )
    if is_on(options, _ANONYMOUS) and (_ROLE in options or _ID in options):
        return f"{_ANONYMOUS} is true, and there are credentials as well. Leave out one of them"
    return ""


def _endpoint_problem(options: Mapping[str, str]) -> str:
    if _ENDPOINT in options:
        endpoint = urlsplit(options[_ENDPOINT])
        if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
            return f"{_ENDPOINT} is no address. {_ENDPOINT_FORM}"
        if endpoint.username is not None or endpoint.path.strip("/") or endpoint.query:
            return f"{_ENDPOINT} has more than a host and a port. {_ENDPOINT_FORM}"
        if endpoint.scheme == "http" and not is_on(options, _HTTP):
            return f"{_ENDPOINT} begins with http://, which sends rows unencrypted. If that is meant, add {_HTTP}: true"
    return ""
