"""Rendering 3D models from all around, step by step through a walk: on the CPU, with panda3d's software renderer."""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .pictures import CUTOUT_PIXELS, crop_to_alpha

NUM_VIEWS, NUM_PHASES = 16, 8
RENDER_PIXELS = 2 * CUTOUT_PIXELS  # twice as large, to smooth edges when it is scaled down
ELEVATION = math.radians(12)  # of the camera above the model's middle
FIELD_OF_VIEW = 30.0  # degrees
AMBIENT, SUN, SUN_HPR = 0.55, 0.7, (-30, -50, 0)  # shares of full light; heading, pitch and roll in degrees

PANDAS = {"panda": ("panda-model", "panda-walk4"), "panda-with-cap": ("panda", "panda-walk")}
SKINS = {  # name -> MuJoCo file, texture file, colour
    "dog": ("dm_control/suite/dog.xml", "dm_control/suite/dog_assets/skin_texture.png", (1.0, 1.0, 1.0)),
    "rodent": ("dm_control/locomotion/walkers/assets/rodent.xml", None, (0.55, 0.45, 0.38)),
}
# Joint (without its side) -> mean angle, swing, share of the cycle by which it lags behind the hip; radians.
GAIT = {
    "hip_{}_extend": (0.0, 0.45, 0.0),
    "knee_{}": (0.0, 0.45, 0.25),
    "ankle_{}": (0.0, 0.3, 0.5),
    "scapula_{}_extend": (0.0, 0.25, 0.5),
    "shoulder_{}_extend": (0.0, 0.35, 0.5),
    "shoulder_{}": (0.0, 0.35, 0.5),
    "elbow_{}": (0.0, 0.4, 0.75),
}

Pictures = Iterator[tuple[str, np.ndarray]]


def picture_name(name: str, view: int, phase: int) -> str:
    """Name of one render of a model."""
    return f"{name}/{view:02d}-{phase:02d}"


def walking_pandas(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Renders of panda3d's pandas.

    Args:
        path: The wheel of panda3d.
        pictures: Folder of its models inside.
        names: From `picture_name`.

    Yields:
        Name and cut-out (h, w, 4) uint8.

    Raises:
        ModuleNotFoundError: If panda3d is not installed.
    """
    from direct.actor.Actor import Actor

    studio = Studio()
    with tempfile.TemporaryDirectory() as folder:
        models = _unpack(path, pictures, Path(folder))
        for name, renders in _by_model(names).items():
            model, walk = (str(models / f"{part}.egg.pz") for part in PANDAS[name])
            actor = Actor(model, {"walk": walk})
            num_frames = actor.getNumFrames("walk")
            actor.pose("walk", 0)
            studio.focus(actor)
            for view, phase in renders:
                actor.pose("walk", phase * num_frames // NUM_PHASES)
                actor.update(force=True)  # panda3d moves a model once per rendered frame at most
                yield picture_name(name, view, phase), studio.picture(actor, view)
            actor.cleanup()


def walking_skins(path: Path, pictures: str, names: list[str]) -> Pictures:
    """Renders of the skinned animals of dm-control, whose legs swing as in a trot; arguments as `walking_pandas`.

    Raises:
        ModuleNotFoundError: If panda3d or mujoco is not installed.
    """
    import mujoco

    studio = Studio()
    with tempfile.TemporaryDirectory() as folder:
        _unpack(path, pictures, Path(folder))
        for name, renders in _by_model(names).items():
            file, texture, colour = SKINS[name]
            model = mujoco.MjModel.from_xml_path(str(Path(folder) / file))
            pose = partial(skin_node, model, Path(folder) / texture if texture else None, colour)
            nodes = [pose(skin_vertices(model, phase / NUM_PHASES)) for phase in range(NUM_PHASES)]
            studio.focus(nodes[0])
            for view, phase in renders:
                yield picture_name(name, view, phase), studio.picture(nodes[phase], view)


class Studio:
    """A camera that goes around a model, with fixed light."""

    def __init__(self) -> None:
        from panda3d import core

        core.loadPrcFileData("", "notify-level error\nmodel-cache-dir")  # no cache in the user's home
        self._core = core
        self._engine = core.GraphicsEngine.getGlobalPtr()
        pipe = core.GraphicsPipeSelection.getGlobalPtr().makePipe("TinyOffscreenGraphicsPipe", "p3tinydisplay")
        size = core.WindowProperties.size(RENDER_PIXELS, RENDER_PIXELS)
        flags = core.GraphicsPipe.BFRefuseWindow
        self._buffer = self._engine.makeOutput(pipe, "studio", 0, core.FrameBufferProperties(), size, flags)
        self._pixels = core.Texture()
        self._buffer.addRenderTexture(self._pixels, core.GraphicsOutput.RTMCopyRam)
        self._scene = core.NodePath("scene")
        self._middle, self._radius = core.LPoint3(0), 1.0
        self._lens = core.PerspectiveLens()
        self._lens.setFov(FIELD_OF_VIEW)
        self._camera = self._scene.attachNewNode(core.Camera("camera", self._lens))
        self._buffer.makeDisplayRegion().setCamera(self._camera)
        ambient, sun = core.AmbientLight("ambient"), core.DirectionalLight("sun")
        for light, strength in ((ambient, AMBIENT), (sun, SUN)):
            light.setColor((strength, strength, strength, 1))
            node = self._scene.attachNewNode(light)
            node.setHpr(*SUN_HPR)
            self._scene.setLight(node)

    def focus(self, node: Any) -> None:
        """Aim at a node: its other poses, and all views, are then drawn at the same scale."""
        low, high = node.getTightBounds()
        self._middle, self._radius = (low + high) * 0.5, (high - low).length() * 0.5

    def picture(self, node: Any, view: int) -> np.ndarray:
        """A cut-out (h, w, 4) uint8 of a panda3d node seen from azimuth view / NUM_VIEWS * 360 degrees."""
        node.reparentTo(self._scene)
        distance = self._radius / math.sin(math.radians(FIELD_OF_VIEW / 2))
        azimuth = 2 * math.pi * view / NUM_VIEWS
        ground = distance * math.cos(ELEVATION)
        shift = (ground * math.sin(azimuth), -ground * math.cos(azimuth), distance * math.sin(ELEVATION))
        self._camera.setPos(self._middle + self._core.LVector3(*shift))
        self._camera.lookAt(self._middle)
        self._lens.setNearFar(distance / 10, 3 * distance)
        on_black, on_white = (self._render(brightness) for brightness in (0, 1))
        node.detachNode()
        # The renderer has no alpha of its own: where the background shines through, the two renders differ.
        alpha = 255 - (on_white.astype(int) - on_black).mean(axis=-1).clip(0, 255)
        picture = Image.fromarray(np.dstack([on_black, alpha.astype(np.uint8)]))
        return crop_to_alpha(np.array(picture.reduce(RENDER_PIXELS // CUTOUT_PIXELS)), "render")

    def _render(self, brightness: float) -> np.ndarray:
        """The scene (H, W, 3) uint8 on a gray background."""
        self._buffer.setClearColor((brightness, brightness, brightness, 1))
        self._engine.renderFrame()
        data = np.frombuffer(self._pixels.getRamImageAs("RGB").getData(), np.uint8)
        return data.reshape(RENDER_PIXELS, RENDER_PIXELS, 3)[::-1]


def skin_vertices(model: Any, cycle: float) -> np.ndarray:
    """Vertices (V, 3) of a MuJoCo model's skin at a share of its walking cycle, by linear blend skinning."""
    import mujoco

    data = mujoco.MjData(model)
    joints = {model.joint(index).name: model.joint(index) for index in range(model.njnt)}
    for pattern, (mean, swing, lag) in GAIT.items():
        for side, offset in (("L", 0.0), ("R", 0.5)):
            joint = joints.get(pattern.format(side))
            if joint is not None:
                angle = mean + swing * math.sin(2 * math.pi * (cycle + offset - lag))
                data.qpos[joint.qposadr[0]] += np.clip(angle, *joint.range)
    mujoco.mj_kinematics(model, data)

    vertices = np.zeros((model.nskinvert, 3))
    for bone in range(model.nskinbone):
        start = model.skin_bonevertadr[bone]
        part = slice(start, start + model.skin_bonevertnum[bone])
        chosen, weights = model.skin_bonevertid[part], model.skin_bonevertweight[part, None]
        body = model.skin_bonebodyid[bone]
        bind = np.zeros(9)
        mujoco.mju_quat2Mat(bind, model.skin_bonebindquat[bone].astype(np.float64))
        local = (model.skin_vert[chosen] - model.skin_bonebindpos[bone]) @ bind.reshape(3, 3)
        vertices[chosen] += weights * (local @ data.xmat[body].reshape(3, 3).T + data.xpos[body])
    return vertices


def skin_node(model: Any, texture: Path | None, colour: tuple[float, float, float], vertices: np.ndarray) -> Any:
    """A panda3d node of a skin whose vertices are (V, 3)."""
    from panda3d import core

    faces = np.array(model.skin_face, np.uint32)
    coordinates = np.array(model.skin_texcoord) if model.nskintexvert else np.zeros((len(vertices), 2))
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces.ravel(), np.repeat(face_normals, 3, axis=0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12

    # MuJoCo counts a texture's rows from the top, panda3d from the bottom.
    table = np.column_stack([vertices, normals, coordinates[:, 0], 1 - coordinates[:, 1]]).astype(np.float32)
    data = core.GeomVertexData("skin", core.GeomVertexFormat.getV3n3t2(), core.Geom.UHStatic)
    data.uncleanSetNumRows(len(table))
    data.modifyArrayHandle(0).copyDataFrom(table.tobytes())
    triangles = core.GeomTriangles(core.Geom.UHStatic)
    triangles.setIndexType(core.Geom.NTUint32)
    indices = triangles.modifyVertices()
    indices.uncleanSetNumRows(faces.size)
    indices.modifyHandle().copyDataFrom(faces.tobytes())
    geometry = core.Geom(data)
    geometry.addPrimitive(triangles)
    node = core.GeomNode("skin")
    node.addGeom(geometry)
    path = core.NodePath(node)
    material = core.Material()
    material.setAmbient((*colour, 1))
    material.setDiffuse((*colour, 1))
    path.setMaterial(material)
    path.setTwoSided(True)
    if texture is not None:
        path.setTexture(core.TexturePool.loadTexture(core.Filename.fromOsSpecific(str(texture))))
    return path


def _by_model(names: list[str]) -> dict[str, list[tuple[int, int]]]:
    """Model -> its (view, phase)."""
    models: dict[str, list[tuple[int, int]]] = {}
    for name in names:
        model, render = name.rsplit("/", 1)
        view, phase = render.split("-")
        models.setdefault(model, []).append((int(view), int(phase)))
    return models


def _unpack(path: Path, prefix: str, folder: Path) -> Path:
    """Unpack a folder of a wheel."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(prefix)])
    return folder / prefix
