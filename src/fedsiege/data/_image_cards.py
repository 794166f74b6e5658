"""The named data sets of images."""

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

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def _fashion(suffix: str) -> Layout:
    return Layout(tuple(f"fashion-mnist/{name}{suffix}" for name in _FASHION_FILES), "idx", (None,) * 4)


def _one(file: str, format: str) -> Layout:
    return Layout((file,), format, (None,))


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
                (None, None),
            ),
            _one("cifar-10/cifar-10-batches-bin", "cifar-binary"),
            _one("cifar-10/cifar-10-batches-py", "cifar-pickle"),
            _one("cifar-10/cifar-10-python.tar.gz", "cifar-pickle"),
            _one("cifar-10/cifar-10-binary.tar.gz", "cifar-binary"),
        ),
        # Its sum stands on https://www.cs.toronto.edu/~kriz/cifar.html.
        remote=Remote(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"
        ),
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
