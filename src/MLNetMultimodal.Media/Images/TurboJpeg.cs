using System.Reflection;
using System.Runtime.InteropServices;

namespace MLNetMultimodal.Media.Images;

/// <summary>The system's TurboJPEG library, by the part of its interface that versions 2 and 3 share.</summary>
sealed unsafe class TurboJpeg
{
    /// <summary>Set to true, leaves JPEG to Skia (AppContext, runtimeconfig.json).</summary>
    const string OffSwitch = "MLNetMultimodal.Media.SkiaJpeg";

    const int Rgb = 0, NoFlags = 0;

    static readonly string[] Names = OperatingSystem.IsWindows() ? ["turbojpeg.dll", "libturbojpeg.dll"]
        : OperatingSystem.IsMacOS() ? ["libturbojpeg.0.dylib", "libturbojpeg.dylib",
            "/opt/homebrew/opt/jpeg-turbo/lib/libturbojpeg.dylib", "/usr/local/opt/jpeg-turbo/lib/libturbojpeg.dylib"]
        : ["libturbojpeg.so.0", "libturbojpeg.so"];

    readonly delegate* unmanaged<nint> _create;
    readonly delegate* unmanaged<nint, int> _destroy;
    readonly delegate* unmanaged<nint, byte*, CULong, int*, int*, int*, int*, int> _readHeader;
    readonly delegate* unmanaged<nint, byte*, CULong, byte*, int, int, int, int, int, int> _decode;

    TurboJpeg(nint create, nint destroy, nint readHeader, nint decode)
    {
        _create = (delegate* unmanaged<nint>)create;
        _destroy = (delegate* unmanaged<nint, int>)destroy;
        _readHeader = (delegate* unmanaged<nint, byte*, CULong, int*, int*, int*, int*, int>)readHeader;
        _decode = (delegate* unmanaged<nint, byte*, CULong, byte*, int, int, int, int, int, int>)decode;
    }

    /// <summary>The library of this machine; null where there is none, or where it is switched off.</summary>
    public static TurboJpeg? Installed { get; } = Find(AppContext.TryGetSwitch(OffSwitch, out bool isOff) && isOff);

    internal static TurboJpeg? Find(bool isOff) => isOff ? null : Names.Select(TryLoad).FirstOrDefault(l => l is not null);

    static TurboJpeg? TryLoad(string name)
    {
        // Where the system and the program have their libraries, never the current folder.
        const DllImportSearchPath trusted = DllImportSearchPath.AssemblyDirectory | DllImportSearchPath.SafeDirectories;
        if (!NativeLibrary.TryLoad(name, Assembly.GetExecutingAssembly(), trusted, out nint library)) return null;
        return NativeLibrary.TryGetExport(library, "tjGetErrorStr2", out _) // since 2.0
            && NativeLibrary.TryGetExport(library, "tjInitDecompress", out nint create)
            && NativeLibrary.TryGetExport(library, "tjDestroy", out nint destroy)
            && NativeLibrary.TryGetExport(library, "tjDecompressHeader3", out nint readHeader)
            && NativeLibrary.TryGetExport(library, "tjDecompress2", out nint decode)
            ? new(create, destroy, readHeader, decode) : null;
    }

    /// <summary>Decodes a JPEG into rented memory.</summary>
    /// <param name="encoded">The file's bytes.</param>
    /// <param name="sizes">From the picture's own width and height to those it is decoded at: the same, or 1/2, 1/4 or 1/8 of
    /// them, rounded up. Throws where the picture is too large.</param>
    /// <param name="room">Rents the memory.</param>
    /// <param name="size">The picture's own width and height.</param>
    /// <returns>[H, W, 3]; null where the library warns or gives up.</returns>
    public PixelBuffer? TryDecode(ReadOnlySpan<byte> encoded, Func<int, int, (int Width, int Height)> sizes,
        Func<int, int, PixelBuffer> room, out (int Width, int Height) size)
    {
        size = default;
        if (!encoded.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8, 0xFF])) return null;
        nint decoder = _create();
        if (decoder == 0) return null;
        try
        {
            fixed (byte* source = encoded)
            {
                int width, height, subsampling, colors;
                var length = new CULong((nuint)encoded.Length);
                if (_readHeader(decoder, source, length, &width, &height, &subsampling, &colors) != 0 || width < 1) return null;
                (int toWidth, int toHeight) = sizes(width, height);
                if (TakesAnotherScale(width, height, toWidth, toHeight)) return null;
                PixelBuffer pixels = room(toWidth, toHeight);
                fixed (byte* target = pixels.Bytes)
                    if (_decode(decoder, source, length, target, toWidth, 3 * toWidth, toHeight, Rgb, NoFlags) == 0)
                    {
                        size = (width, height);
                        return pixels;
                    }
                pixels.Dispose();
                return null;
            }
        }
        finally
        {
            _destroy(decoder);
        }
    }

    /// <summary>The library takes the largest of its scales, eighths, that fits into a size: for a picture of a few pixels that
    /// may be another one than is meant.</summary>
    static bool TakesAnotherScale(int width, int height, int toWidth, int toHeight)
    {
        if ((width, height) == (toWidth, toHeight)) return false;
        int eighths = 8;
        while (Scaled(width, eighths) > toWidth || Scaled(height, eighths) > toHeight) eighths--;
        return eighths is not (4 or 2 or 1);
    }

    static int Scaled(int side, int eighths) => (int)(((long)side * eighths + 7) / 8);
}
