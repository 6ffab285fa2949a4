using System.Globalization;
using QuickStart;
using SkiaSharp;

namespace FineTuneClip;

/// <summary>Draws accuracy on what was known against accuracy on what was learned.</summary>
static class Curve
{
    const int Width = 640, Height = 480, Left = 84, Right = 24, Top = 40, Bottom = 64;

    /// <summary>Writes a PNG.</summary>
    /// <param name="path">The file.</param>
    /// <param name="points">Alpha, and the two accuracies, 0 to 1.</param>
    public static void Save(string path, IReadOnlyList<(double Alpha, double Known, double Learned)> points)
    {
        using var bitmap = new SKBitmap(Width, Height);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(SKColors.White);
        using var axis = new SKPaint { Color = SKColors.LightGray, StrokeWidth = 1 };
        for (int tick = 0; tick <= 5; tick++)
        {
            (float x, float y) = Place(tick / 5.0, tick / 5.0);
            canvas.DrawLine(x, Top, x, Height - Bottom, axis);
            canvas.DrawLine(Left, y, Width - Right, y, axis);
            string label = (tick * 20).ToString(CultureInfo.InvariantCulture);
            Letters.Draw(canvas, label, x - 10, Height - Bottom + 8, 2, SKColors.DimGray);
            Letters.Draw(canvas, label, Left - 44, y - 7, 2, SKColors.DimGray);
        }
        Letters.Draw(canvas, "top-1 of the old classes", Left + 130, Height - 26, 2, SKColors.Black);
        Letters.Draw(canvas, "top-1 of the new classes", Left, 12, 2, SKColors.Black);
        using var line = new SKPaint { Color = SKColors.SteelBlue, StrokeWidth = 2, IsAntialias = true };
        for (int i = 0; i < points.Count; i++)
        {
            (float x, float y) = Place(points[i].Known, points[i].Learned);
            if (i > 0)
            {
                (float fromX, float fromY) = Place(points[i - 1].Known, points[i - 1].Learned);
                canvas.DrawLine(fromX, fromY, x, y, line);
            }
            canvas.DrawCircle(x, y, 4, line);
            if (i % 5 == 0)
                Letters.Draw(canvas, points[i].Alpha.ToString("f1", CultureInfo.InvariantCulture), x - 48, y + 6, 2, SKColors.SteelBlue);
        }
        using SKData png = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(path, png.ToArray());
    }

    static (float X, float Y) Place(double x, double y) =>
        (Left + (float)x * (Width - Left - Right), Height - Bottom - (float)y * (Height - Top - Bottom));
}
