"""A real Asterisk on loopback addresses of its own."""

from lab.asterisk.process import AMI_PORT, HTTP_PORT, Asterisk
from lab.asterisk.provision import Installation, provision, provision_all
from lab.asterisk.tap import Tap

__all__ = ["AMI_PORT", "HTTP_PORT", "Asterisk", "Installation", "Tap", "provision", "provision_all"]
