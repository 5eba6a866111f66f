from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.hadoop_xml import parse_hadoop, settings_of


def test_of_a_name_that_stands_twice_the_last_value_counts() -> None:
    said = b"""<?xml version="1.0" encoding="ISO-8859-1"?><configuration>
    <property><name> a </name><value>
      \xe4</value></property><property><name>b</name></property>
    <property><name>c</name><value>1</value></property><property><name>c</name><value>2</value></property>
    </configuration>"""
    assert settings_of(parse_hadoop("core-site.xml", said)) == {"a": "\n      ä", "b": "", "c": "2"}


@pytest.mark.parametrize("data", ["", "x", b"<configuration>", b"\xff<a/>"])
def test_what_is_no_configuration_is_refused_by_its_name(data: str | bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^core-site.xml is no configuration of Hadoop: "):
        parse_hadoop("core-site.xml", data)
