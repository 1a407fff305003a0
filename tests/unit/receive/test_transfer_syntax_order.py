"""Which transfer syntax is taken where a sender leaves the choice to the node."""

from pydicom.uid import (
    AllTransferSyntaxes,
    ExplicitVRLittleEndian,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from covnode.receive.contexts import transfer_syntaxes


def test_by_default_everything_is_taken_once():
    assert sorted(transfer_syntaxes(())) == sorted(AllTransferSyntaxes)


def test_what_loses_nothing_comes_first():
    order = transfer_syntaxes(())
    wanted = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, JPEGBaseline8Bit]
    assert sorted(wanted, key=order.index) == wanted
    assert order[0] == ExplicitVRLittleEndian
    assert max(map(order.index, (RLELossless, HTJ2KLosslessRPCL))) < order.index(JPEGBaseline8Bit)


def test_the_settings_decide_alone():
    assert transfer_syntaxes((RLELossless, ExplicitVRLittleEndian)) == [RLELossless, ExplicitVRLittleEndian]
