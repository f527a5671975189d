"""Networks that lustral trains itself; published networks come through diffusers, timm, spandrel or pyiqa."""
