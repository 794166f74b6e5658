"""The named data sets of images.

FashionMNIST's files, CIFAR-10's archives and its Parquet files are pinned. Unpacked folders
(``cifar-10-batches-bin``, ``cifar-10-batches-py``, CINIC-10's class folders) have no sum: they are held to the number
and size of their images alone. CINIC-10's archive has no published sum: it is trusted on first use.

Some known copies are not as published, yet hold the data set: FashionMNIST with the images and labels in another order,
CIFAR-10 with the images compressed again, with loss, as JPEG. They are accepted under the name, and a run's stored sum
tells which one it used.
"""

from __future__ import annotations

from fedsiege.data._card import DatasetCard, Layout, Pictures, Remote

# The mirror of the files in the authors' own repository: their other address has no TLS.
_FASHION = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_FASHION_FILES = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
"""File and published MD5 sum of its gzipped form (README of the repository)."""
_FASHION_SUMS = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
"""SHA-256 of the published files, unpacked."""
_FASHION_REORDERED = (
    "9fff5efa9144debe7134e5b10dfd1976575d4938d5e4dfa232c2f9ef638d0f0d",
    "7cd88f551e93510030f93325e39e5d8112c932e2d6d2b1fde7ead816545ae184",
    "64171f26c6962db16670612e300d198569661d5f2ab7a69419a3d68e7ff181d7",
    "59df6c6ad638dc43879f10a8c5b516aabdcef4f924ba14410bf8aec5e518b1c4",
)
"""SHA-256 of a copy with the same images and labels in another order, unpacked."""
_CIFAR_PARQUET = (
    "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883",
    "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de",
)
"""SHA-256 of train and test part as on the Hugging Face hub (``uoft-cs/cifar10``), images as PNG."""
_CIFAR_JPEG = (
    "db121d6a9173406bd548e908d407a4854ceb673e759e7433dfc1de0df0307834",
    "638582c54277131355aefc2e5b8f649595eb164aa2e9924fd0bad3c172f22026",
)
"""SHA-256 of a copy of those with images as JPEG of quality 75."""
_CIFAR_BINARY = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_CIFAR_PYTHON = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def _fashion(suffix: str) -> Layout:
    files = tuple(f"fashion-mnist/{name}{suffix}" for name in _FASHION_FILES)
    return Layout(files, "idx", _FASHION_SUMS, copies=(_FASHION_REORDERED,))


def _one(file: str, format: str, sum: str | None = None) -> Layout:
    return Layout((file,), format, (sum,))


IMAGE_CARDS = (
    DatasetCard(
        name="fashion-mnist",
        summary="FashionMNIST: grey pictures of articles of clothing",
        paper="H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
        license="MIT",
        layouts=(_fashion(""), _fashion(".gz")),
        remote=Remote(f"{_FASHION}train-images-idx3-ubyte.gz", "md5:" + _FASHION_FILES["train-images-idx3-ubyte"]),
        further=tuple(Remote(f"{_FASHION}{n}.gz", f"md5:{s}") for n, s in list(_FASHION_FILES.items())[1:]),
        kind="images",
        pictures=Pictures(
            train=60_000,
            test=10_000,
            shape=(1, 28, 28),
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            # MNIST's numbers: the published code of the attacks and defenses uses them for FashionMNIST too.
            mean=(0.1307,),
            std=(0.3081,),
        ),
    ),
    DatasetCard(
        name="cifar-10",
        summary="CIFAR-10: small colour photographs",
        paper="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        license="none stated (University of Toronto)",
        layouts=(
            Layout(
                ("cifar-10/train-00000-of-00001.parquet", "cifar-10/test-00000-of-00001.parquet"),
                "parquet",
                _CIFAR_PARQUET,
                copies=(_CIFAR_JPEG,),
            ),
            _one("cifar-10/cifar-10-batches-bin", "cifar-binary"),
            _one("cifar-10/cifar-10-batches-py", "cifar-pickle"),
            _one("cifar-10/cifar-10-python.tar.gz", "cifar-pickle", _CIFAR_PYTHON),
            _one("cifar-10/cifar-10-binary.tar.gz", "cifar-binary", _CIFAR_BINARY),
        ),
        # The page beside it publishes an MD5 sum, which is no longer safe against a file made to fit.
        remote=Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", f"sha256:{_CIFAR_BINARY}"),
        kind="images",
        pictures=Pictures(
            train=50_000, test=10_000, shape=(3, 32, 32), classes=CIFAR_CLASSES, mean=CIFAR_MEAN, std=CIFAR_STD
        ),
    ),
    DatasetCard(
        name="cinic-10",
        summary="CINIC-10: CIFAR-10 with images of ImageNet added; train and test of its three thirds",
        paper="L. N. Darlow et al., CINIC-10 is not ImageNet or CIFAR-10, arXiv:1810.03505, 2018",
        license="CC-BY-4.0",
        layouts=(
            Layout(("cinic-10/train", "cinic-10/test"), "folders", (None, None)),
            _one("cinic-10/CINIC-10.tar.gz", "folders"),
        ),
        remote=Remote("https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz", None),
        kind="images",
        pictures=Pictures(
            train=90_000, test=90_000, shape=(3, 32, 32), classes=CIFAR_CLASSES, mean=CIFAR_MEAN, std=CIFAR_STD
        ),
    ),
    DatasetCard(
        name="digits",
        summary="handwritten digits, grey, 8×8; part of scikit-learn, no file needed",
        paper="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, 1998",
        license="CC-BY-4.0",
        kind="images",
        pictures=Pictures(train=1_442, test=355, shape=(1, 8, 8), classes=tuple("0123456789")),
    ),
)
