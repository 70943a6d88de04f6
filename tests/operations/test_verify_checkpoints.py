"""`sgdb verify` on checkpoints."""
from pathlib import Path
from sgdb.operations.verify import VerifyOptions, verify
from tests.legacy_checkpoints import write_checkpoint
from tests.steps import ask, count, migrate, tamper
def test_x(settings, engine, tmp_path):
    folder=tmp_path/"c"; folder.mkdir()
    write_checkpoint(folder); write_checkpoint(folder, epoch=200)
    migrate(settings, folder)
    print(verify(VerifyOptions((folder,)), settings).to_json())
    print(verify(VerifyOptions(), settings).to_json())
    tamper(engine, "UPDATE model_checkpoints SET metadata = jsonb_set(metadata, '{loss_history,1}', '3'), metrics=metrics||jsonb_build_object('loss',1) WHERE epoch=100")
    print(verify(VerifyOptions((folder,)), settings).to_json())
    assert 0
