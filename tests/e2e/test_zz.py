import pytest
pytestmark=[pytest.mark.xdist_group("e2e")]
@pytest.mark.parametrize("n", range(6))
def test_a(n): pass
def test_b(request): assert 0, (request.node.nodeid, request.node._nodeid, request.config.option.loadgroup, [m for m in request.node.iter_markers("xdist_group")], request.config.pluginmanager.list_plugin_distinfo())
